// Places that stay: whoever has one keeps it, what goes leaves a free one, and the next that comes takes the
// first free one. Nobody ever moves for somebody else.

export class Slots {
  readonly at: (string | null)[] = [];
  private readonly of = new Map<string, number>();

  get(key: string): number | undefined {
    return this.of.get(key);
  }

  get count(): number {
    return this.of.size;
  }

  /** Put a key into a free slot. */
  put(key: string, slot: number): void {
    while (this.at.length <= slot) this.at.push(null);
    this.at[slot] = key;
    this.of.set(key, slot);
  }

  /** Free a key's slot, and return which one it was. */
  free(key: string): number | undefined {
    const slot = this.of.get(key);
    if (slot === undefined) return undefined;
    this.of.delete(key);
    this.at[slot] = null;
    return slot;
  }

  /** The first free slot below `limit`; null when all are taken. */
  firstFree(limit: number): number | null {
    for (let slot = 0; slot < limit; slot += 1) if (this.at[slot] == null) return slot;
    return null;
  }

  keys(): IterableIterator<string> {
    return this.of.keys();
  }
}
