"""
What a hit costs, and a fill, beside what else one could use.

    make bench ONLY=hit
    .venv/bin/python benchmarks/hit.py [--json benchmarks/results/hit.json]

Everything runs in this process and takes turns, see `measure`; only the storm has a second
process, which floods this one with flushes, and `remote` has a Redis.  A figure is the time of
one operation, the call included.  The keys are read in the order in which they were stored,
unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any, Final

import cachetools
from measure import (
    Contender,
    Figure,
    Report,
    arguments,
    awaited,
    interleaved,
    percentile,
    repeated,
    resting_collector,
    settle,
)
from remote import remote_hits
from rivals import CACHETOOLS, DOGPILE, TTL, async_decorated, decorated, locked_ttl_cache, plain, readers
from storm import storm

from flushmesh import Cache, Mesh

KEYS: Final = 1_000
MANY: Final = 1_000_000
TAGGED: Final = 100_000
THREADED_HITS: Final = 200_000

PLAIN: Final = "a bare dict with expiry, our clock"
LOCKED: Final = "cachetools.TTLCache under an RLock"


def filled(mesh: Mesh, name: str, values: dict[str, object]) -> Cache[Any]:
    """Return a new cache with *values* in it, loaded as an application would."""
    cache = mesh.cache(name, maxsize=len(values), ttl=TTL)
    _fill(cache, values)
    return cache


def hits(mesh: Mesh, report: Report) -> None:
    """Compare a hit with the least that it could cost, and with the caches that one could use instead."""
    values: dict[str, object] = {f"user:{number}": object() for number in range(KEYS)}
    cache = filled(mesh, "hits", values)
    rivals = readers(values, report.notes)
    contenders = {
        "cache.get": repeated("get(key)", get=cache.get),
        "cache.get_or_load": repeated("get(key, load)", get=cache.get_or_load, load=object),
        PLAIN: repeated("get(key)", get=plain(values)),
        LOCKED: repeated("get(key)", get=locked_ttl_cache(values)),
        **rivals,
    }
    figures = interleaved(contenders, list(values))
    report.compare(figures, "cache.get", PLAIN, 1.5)
    report.compare(figures, "cache.get", LOCKED, 0.4)
    report.compare(figures, "cache.get_or_load", PLAIN, 2.2)
    for rival in rivals:
        report.compare(figures, "cache.get", rival)


def decorated_hits(mesh: Mesh, report: Report) -> None:
    """Compare a hit of a decorated function, its one argument a number."""

    def load(user_id: int) -> object:
        return object()

    ours = "cached, key of one argument"
    rivals = decorated(load, report.notes, KEYS)
    functions = {ours: mesh.cache("decorated", maxsize=KEYS).cached(key="user:{user_id}")(load), **rivals}
    figures = interleaved({name: repeated("f(key)", f=f) for name, f in functions.items()}, range(KEYS))
    targets = {CACHETOOLS: 1.0, DOGPILE: 0.3}
    for rival in rivals:
        report.compare(figures, ours, rival, targets.get(rival))


def decorated_forms(mesh: Mesh, report: Report) -> None:
    """Compare a hit of every form of a decorated function with cachetools' `cached`, whose argument is a number."""
    cached = mesh.cache("forms", maxsize=10 * KEYS).cached

    class Users:
        prefix = "user"

        @cached(key="method:{user_id}")
        def load(self, user_id: int) -> object:
            return object()

        @cached(key="{self.prefix}/{user_id}")
        def load_own(self, user_id: int) -> object:
            return object()

    def load(user_id: int) -> object:
        return object()

    def load_page(user_id: int, page: int = 1) -> object:
        return object()

    async def aload(user_id: int) -> object:
        return object()

    one = cached(key="user:{user_id}")(load)
    texts = [f"u{number}" for number in range(KEYS)]
    with asyncio.Runner() as runner:
        contenders = {
            CACHETOOLS: repeated("f(key)", f=decorated(load, [], KEYS)[CACHETOOLS]),
            "cached, key of one int": repeated("f(key)", f=one),
            "cached, key of one str": of_its_own(repeated("f(key)", f=one), texts),
            "cached, one int by keyword": repeated("f(user_id=key)", f=one),
            "cached, on a method": repeated("f(key)", f=Users().load),
            "cached, on a method, its attribute in the key": repeated("f(key)", f=Users().load_own),
            "cached, two fields, a default, a tag": repeated(
                "f(key)", f=cached(key="page:{user_id}:{page}", tags=["user:{user_id}"])(load_page)
            ),
            "cached, no key": repeated("f(key)", f=cached(load)),
            "async cached, key of one int": awaited(runner.run, "await f(key)", f=cached(key="async:{user_id}")(aload)),
        }
        figures = interleaved(contenders, range(KEYS))
    targets = {
        "cached, on a method, its attribute in the key": None,
        "cached, no key": 0.6,
        "async cached, key of one int": 0.5,
    }
    for ours in list(contenders)[1:]:
        report.compare(figures, ours, CACHETOOLS, targets.get(ours, 0.4))


def of_its_own(contender: Contender, keys: Sequence[object]) -> Contender:
    """Return *contender* with *keys* in place of those that the others have."""
    return lambda _keys: contender(keys)


def async_hits(mesh: Mesh, report: Report) -> None:
    """Compare a hit of a decorated coroutine function."""

    async def load(user_id: int) -> object:
        return object()

    ours = "async cached, key of one argument"
    rivals = async_decorated(load, report.notes, KEYS)
    functions = {ours: mesh.cache("async", maxsize=KEYS).cached(key="user:{user_id}")(load), **rivals}
    with asyncio.Runner() as runner:
        contenders = {name: awaited(runner.run, "await f(key)", f=f) for name, f in functions.items()}
        figures = interleaved(contenders, range(KEYS), rounds=51, loop=awaited(runner.run, "pass"))
    for rival in rivals:
        report.compare(figures, ours, rival, 0.1)


def fills(mesh: Mesh, report: Report) -> None:
    """Compare a miss whose loader returns at once with storing an item: into room, and where one must go for it."""
    keys = [f"user:{number}" for number in range(KEYS)]
    store = "with lock: ttl_cache[key] = value"
    for what, maxsize, at_most in (("fill", 10 * KEYS, 4.0), ("fill that evicts", KEYS // 2, None)):
        cache = mesh.cache(what, maxsize=maxsize, ttl=TTL)
        rival: cachetools.TTLCache[str, object] = cachetools.TTLCache(maxsize, TTL, timer=time.monotonic)
        contenders = {
            f"{what} (get_or_load)": repeated("get(key, load)", get=cache.get_or_load, load=object),
            f"{LOCKED}: {what}": repeated(store, ttl_cache=rival, lock=threading.RLock(), value=object()),
        }
        empty = partial(_empty, cache, rival) if at_most else None
        ours, theirs = contenders
        report.compare(interleaved(contenders, keys, before=empty), ours, theirs, at_most)


def _empty(cache: Cache[Any], rival: cachetools.TTLCache[str, object]) -> None:
    cache.flush_all()
    rival.clear()


def sizes(mesh: Mesh, report: Report) -> None:
    """Compare a hit among many entries with one among few, for several ways to pick the keys."""
    few = {f"user:{number}": object() for number in range(KEYS)}
    many = {f"user:{number}": object() for number in range(MANY)}
    readers = {
        ("cache.get", "1,000"): filled(mesh, "few", few).get,
        ("cache.get", "1,000,000"): filled(mesh, "many", many).get,
        ("bare dict", "1,000"): plain(few),
        ("bare dict", "1,000,000"): plain(many),
    }
    lot = random.Random(7)
    mixed = lot.sample(list(many), MANY)
    rounds = 200 * KEYS
    picked = {
        "a hot thousand, adjacent": list(many)[-KEYS:],
        "a hot thousand, scattered": mixed[:KEYS],
        "by popularity": lot.choices(mixed, [1 / rank for rank in range(1, MANY + 1)], k=rounds),
        "all alike": lot.choices(mixed, k=rounds),
    }
    for how, keys in picked.items():
        lot.shuffle(fewer := list(few))
        contenders = {
            f"{what} of {size}, {how}": anew(repeated("get(key)", get=get), keys if size == "1,000,000" else fewer)
            for (what, size), get in readers.items()
        }
        figures = interleaved(contenders, [], loop=anew(repeated("pass"), fewer))
        for what, at_most in (("cache.get", 1.5 if "hot" in how else None), ("bare dict", None)):
            report.compare(figures, f"{what} of 1,000,000, {how}", f"{what} of 1,000, {how}", at_most)
    report.notes.append(
        "Keys among 1,000,000 entries: a thousand that are read again and again, the last ones loaded or some "
        "chosen by lot; or by popularity (Zipf, the n-th most popular with a weight of 1/n), others in each round; or "
        "all alike, others in each round.  Beside 1,000 entries read in mixed order.  What grows is the waiting for "
        "memory, and it grows about as much for a bare dict"
    )


def anew(contender: Contender, keys: Sequence[str]) -> Contender:
    """Return *contender* with the next thousand of *keys* in each round."""
    rounds = cycle([keys[begin : begin + KEYS] for begin in range(0, len(keys), KEYS)])
    return lambda _keys: contender(next(rounds))


def threads(mesh: Mesh, report: Report) -> None:
    """Compare the same number of hits by four threads together with those by one."""
    values: dict[str, object] = {f"user:{number}": object() for number in range(KEYS)}
    read = repeated("get(key)", get=filled(mesh, "threads", values).get)
    ours, alone = "four threads hitting together, per hit", "one thread, per hit"
    keys = list(values) * (THREADED_HITS // KEYS)
    contenders = {ours: partial(_together, 4, read), alone: partial(_together, 1, read)}
    report.compare(interleaved(contenders, keys, rounds=31), ours, alone, 1.1)


def _together(count: int, read: Contender, keys: Sequence[object]) -> float:
    """Return the seconds for each of *keys* if *count* threads share them."""
    share = list(keys[: len(keys) // count])
    running = [threading.Thread(target=read, args=(share,)) for _ in range(count)]
    began = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return (time.perf_counter() - began) / len(keys)


def memory(mesh: Mesh, report: Report) -> None:
    """Compare what an entry takes beside its key and value, as tracemalloc counts."""
    ours, theirs = "memory of an entry without tags", "cachetools.TTLCache"
    taken: dict[str, list[float]] = {ours: [], theirs: []}
    for size in (50_000, 100_000, 150_000, 200_000):  # Dicts double now and then, so not one size alone.
        values: dict[str, object] = {f"user:{number}": object() for number in range(size)}
        cache = mesh.cache(f"memory {size}", maxsize=size, ttl=TTL)
        rival: cachetools.TTLCache[str, object] = cachetools.TTLCache(size, TTL)
        fill = partial(_fill, cache, values)
        taken[ours].append(_traced(fill) / size)
        taken[theirs].append(_traced(partial(rival.update, values)) / size)
    figures = {name: Figure(name, samples, "bytes") for name, samples in taken.items()}
    report.compare(figures, ours, theirs, 2.0)


def _fill(cache: Cache[Any], values: dict[str, object]) -> None:
    for key in values:
        cache.get_or_load(key, partial(values.__getitem__, key))


def _traced(fill: Callable[[], object]) -> int:
    """Return how many bytes *fill* has left behind."""
    gc.collect()
    tracemalloc.start()
    fill()
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken


def tags(mesh: Mesh, report: Report) -> None:
    """Compare flushing a tag with deleting as many items one by one; look at the hits meanwhile."""
    values: dict[str, object] = {f"user:{number}": object() for number in range(TAGGED)}
    cache = mesh.cache("tags", maxsize=TAGGED + 1, ttl=TTL)
    cache["hit"] = "value"
    rival: cachetools.TLRUCache[str, object] = cachetools.TLRUCache(TAGGED, lambda _key, _value, now: now + TTL)

    def before() -> None:
        for key in values:
            cache.get_or_load(key, object, tags=["tag"])
        rival.update(values)

    ours, theirs = f"flush_tag over {TAGGED:,} entries, per entry", "TLRUCache, deleted one by one"
    contenders: dict[str, Contender] = {
        ours: lambda _keys: _seconds(partial(cache.flush_tag, "tag")) / TAGGED,
        theirs: lambda _keys: _seconds(partial(_delete, rival, list(values))) / TAGGED,
    }
    figures = interleaved(contenders, ["unused"], rounds=11, before=before, loop=lambda _keys: 0.0)
    report.compare(figures, ours, theirs, 1.5)
    report.notes.append(_hits_during_a_flush(cache, before))


def _hits_during_a_flush(cache: Cache[Any], before: Callable[[], None]) -> str:
    quiet: list[int] = []
    busy: list[int] = []
    with resting_collector():
        for _ in range(5):
            before()
            for latencies, work in ((quiet, partial(time.sleep, 0.05)), (busy, partial(cache.flush_tag, "tag"))):
                done = threading.Event()
                reader = threading.Thread(target=_read_until, args=(cache, done, latencies))
                reader.start()
                work()
                done.set()
                reader.join()
    return (
        f"Hits of another thread while flush_tag runs: p99 {percentile(busy, 99):,} ns, worst {max(busy) / 1e6:.1f} ms "
        f"of {len(busy):,} (quiet: p99 {percentile(quiet, 99):,} ns, worst {max(quiet) / 1e6:.1f} ms "
        f"of {len(quiet):,}); what waits, waits for the interpreter, "
        f"which changes threads every {sys.getswitchinterval() * 1e3:g} ms"
    )


def _read_until(cache: Cache[Any], done: threading.Event, latencies: list[int]) -> None:
    now, get = time.perf_counter_ns, cache.get
    while not done.is_set():
        began = now()
        get("hit")
        latencies.append(now() - began)


def _delete(cache: cachetools.Cache[str, object], keys: list[str]) -> None:
    for key in keys:
        del cache[key]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


PARTS: Final[dict[str, Callable[[Mesh, Report], None]]] = {
    "hits": hits,
    "remote": remote_hits,
    "decorated": decorated_hits,
    "forms": decorated_forms,
    "async": async_hits,
    "fills": fills,
    "threads": threads,
    "memory": memory,
    "tags": tags,
    "sizes": sizes,
    "storm": storm,
}


def main() -> None:
    """Measure, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given several times")
    options = parser.parse_args()
    settle(at_once=options.at_once)
    report = Report()
    for name in options.only or PARTS:
        with Mesh("benchmark", mdns=False) as mesh:
            PARTS[name](mesh, report)
    report.finish(options.json)


if __name__ == "__main__":
    main()
