"""The planted bugs of the local content: what a store is easiest to get wrong in."""

from __future__ import annotations

from tests.simulation.planting import RULES, mutant

STORE = "flushmesh.store:Store"
LEDGER = "flushmesh.ledger:Ledger"
WRITES = "flushmesh.write:Writes"
CONTENTS = "flushmesh.contents:Contents"
INDEX = "flushmesh.tags:Tags"
DEMANDS = "flushmesh.versions:Versions"

CACHE = (
    mutant(
        "a flush does not revoke the running load",
        (f"{LEDGER}._flush_locked", "self._flights.pop(key, None)", "pass"),
    ),
    mutant(
        "flush_all does not revoke the running loads",
        (f"{LEDGER}._revoke_all_locked", "self._flights.clear()", "pass"),
    ),
    mutant(
        "a late caller joins a revoked load",
        (
            f"{LEDGER}._flush_locked",
            "self._flights.pop(key, None)",
            'key in self._flights and setattr(self._flights[key], "began", -inf)',
        ),
    ),
    mutant(
        "a write keeps its value although a flush came meanwhile",
        (f"{LEDGER}._may_keep_locked", "key not in write.revoked and ", ""),
    ),
    mutant(
        "a hit reads the clock first",
        (f"{STORE}._reader", "trusted_at = self.trusted_at\n", "trusted_at, now = self.trusted_at, clock()\n"),
        (f"{STORE}._reader", "now = clock()\n", "pass\n"),
    ),
    mutant(
        "a hit reads the proof last",
        (f"{STORE}._reader", "now < trusted_at + entry.bound", "now < self.trusted_at + entry.bound"),
    ),
    mutant(
        "ttl counts from the fill",
        (
            f"{LEDGER}._put_locked",
            "Entry(fresh.value, loaded_at, loaded_at + ttl",
            "Entry(fresh.value, loaded_at, now + ttl",
        ),
    ),
    mutant(
        "an entry counts as loaded when it is filled",
        (f"{LEDGER}._fill_locked", "flight.began, size)", "self._clock(), size)"),
    ),
    mutant(
        "what shortens an entry's life is not seen by a hit",
        ("flushmesh.entry:Entry.run_out", "self.due = min(self.due, at)", "pass"),
    ),
    mutant(
        "an entry's bound may exceed max_staleness",
        (f"{LEDGER}._put_locked", "(0.5 + 0.5 * self._random())", "(0.5 + self._random())"),
    ),
)

TAGS = (
    mutant(
        "a flushed tag is not remembered for the loads that run",
        (f"{INDEX}.flush", "self.flushed[tag] = self.count", "pass"),
    ),
    mutant(
        "flushed tags are forgotten while a load runs",
        (f"{LEDGER}._tidy_locked", "not self._flights and not self._writes", "not self._writes"),
    ),
    mutant(
        "flushed tags are forgotten while a write is open",
        (f"{LEDGER}._tidy_locked", "not self._flights and not self._writes", "not self._flights"),
    ),
    mutant(
        "too many flushed tags are forgotten without a revocation",
        (f"{LEDGER}._flush_tag_locked", "self._revoke_all_locked()", "self._tags.forget()"),
        seen_by=f"{RULES}::test_what_runs_is_revoked_when_no_more_flushed_tags_can_be_remembered",
        because="no run flushes 65,536 tags",
    ),
    mutant(
        "a flush of a tag does not let go of what carries it",
        (
            f"{LEDGER}._flush_tag_locked",
            "self.contents.flush_each(self._tags.flush(tag), now)",
            "len(self._tags.flush(tag))",
        ),
    ),
    mutant(
        "an entry is not found by its tags",
        (f"{CONTENTS}.put", "if entry.tags:", "if False:"),
    ),
    mutant(
        "an entry takes the tags of its successor with it",
        (f"{CONTENTS}.put", "if former is not None:\n        self._let_go(key, former)\n", "pass\n"),
        (
            f"{CONTENTS}.put",
            "self._ends_later(key, entry)",
            "former is not None and self._let_go(key, former)\n    self._ends_later(key, entry)",
        ),
    ),
    mutant(
        "an entry that goes is still found by its tags",
        (f"{CONTENTS}._let_go", "self._tags.discard(key, entry.tags)", "pass"),
        seen_by=f"{RULES}::test_a_flush_of_a_tag_spares_what_carries_it_no_longer",
        because="it costs memory and forgets too much, which breaks no promise",
    ),
    mutant(
        "a caller after a flush of a tag is given the old value",
        ("flushmesh.flight:Passenger.takes", " and not 0 < landing.flushed <= self.boarded", ""),
    ),
    mutant(
        "a caller between two flushes of a tag is given the old value",
        (
            f"{LEDGER}._flushed_meanwhile_locked",
            "flight.tags_seen + 1 if revoked or self._tags.flushed_since(flight.tags_seen, tags) else 0",
            "flight.tags_seen + 1 if revoked else max(self._tags.flushed.get(tag, 0) for tag in tags)",
        ),
    ),
    mutant(
        "whoever waits for a revoked load takes what it brings",
        (f"{LEDGER}._flushed_meanwhile_locked", "revoked or ", ""),
    ),
    mutant(
        "a write keeps its value although a tag of it was flushed",
        (f"{LEDGER}._may_keep_locked", " and not self._tags.flushed_since(write.tags_seen, fresh.tags)", ""),
    ),
    mutant(
        "a write does not forget what carries its tags",
        (
            f"{LEDGER}._begin_write_locked",
            "self._flush_write_locked(write, {}, write.began)",
            "[self._flush_locked(key, None, write.began) for key in write.keys]",
        ),
    ),
    mutant(
        "what carries a tag that is being written is stored",
        (f"{WRITES}._index", "self._of_tag.update(write.tags)", "pass"),
    ),
    mutant(
        "a write does not flush its tags at its end",
        (
            f"{LEDGER}._end_write_locked",
            "self._flush_write_locked(write, values, now)",
            "[self._flush_locked(key, None, now) for key in write.keys]",
        ),
    ),
)

VERSIONS = (
    mutant(
        "what is older than was demanded is stored",
        (f"{LEDGER}._put_locked", "fresh.version is not None and not self._versions", "False and not self._versions"),
    ),
    mutant(
        "a flush with a version lets go of nothing",
        (f"{LEDGER}._flush_locked", "entry.version >= version", "entry.version >= 0"),
    ),
    mutant(
        "a flush with a version spares what has none",
        (
            f"{LEDGER}._flush_locked",
            "entry.version is not None and entry.version >= version",
            "(entry.version is None or entry.version >= version)",
        ),
    ),
    mutant(
        "a flush with a version lets go of what is as new",
        (f"{LEDGER}._flush_locked", "return False", "pass"),
        seen_by=f"{RULES}::test_a_flush_with_a_version_spares_what_is_as_new",
        because="it forgets too much, which breaks no promise",
    ),
    mutant(
        "a flush with a version spares the load that runs",
        (f"{LEDGER}._flush_locked", "self._flights.pop(key, None)", "version is None and self._flights.pop(key, None)"),
    ),
    mutant(
        "a flush with a version lets a write keep its value",
        (
            f"{LEDGER}._flush_locked",
            "self._writes.revoke(key)",
            "version is None and self._writes.revoke(key)",
        ),
    ),
    mutant(
        "a late flush lowers what was demanded",
        (f"{DEMANDS}.demand", "max(version, former.version)", "version"),
    ),
    mutant(
        "a demand that is lost blinds nobody",
        (f"{DEMANDS}._lose", "self._lost_until[mark] = max(self._lost_until[mark], ceil(until))", "pass"),
    ),
    mutant(
        "a demand that was lost may come back lower",
        (f"{DEMANDS}.demand", "Demand(version, now, self._unsure_until(key))", "Demand(version, now, -inf)"),
        seen_by=f"{RULES}::test_a_late_flush_of_an_older_version_does_not_undo_a_demand_that_was_lost",
        because="it shows seldom: a flush has to be late by as much as it takes to lose a demand",
    ),
)
