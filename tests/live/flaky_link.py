"""A TCP link between collectors and server that a test can cut, heal and slow down."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class FlakyLink:
    """A proxy on loopback, in a thread of its own: `port` forwards to `target_port` while it isn't cut."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.delay_s = 0.0
        self.port = 0
        self._cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._main()), daemon=True
        )

    def __enter__(self) -> FlakyLink:
        self._thread.start()
        self._ready.wait(300)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(60)
        self._loop.close()

    def cut(self) -> None:
        """Drop every connection (with a reset) and refuse new ones."""
        self._cut = True
        self._loop.call_soon_threadsafe(self._abort_all)

    def heal(self) -> None:
        """Let connections through again."""
        self._cut = False

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _main(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        self._abort_all()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._cut:
                writer.transport.abort()
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(far_writer)
            await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))
        except (OSError, asyncio.CancelledError):  # cut off, or the link itself ends
            writer.transport.abort()
        finally:
            self._writers.discard(writer)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
