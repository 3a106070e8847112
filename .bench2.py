import cProfile, pstats, time
from tests.bench import search

search.NODES = 1000
pr = cProfile.Profile()
pr.enable()
for f in search.run():
    print(f, flush=True)
pr.disable()
pstats.Stats(pr).sort_stats("tottime").print_stats(14)
