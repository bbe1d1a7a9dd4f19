"""Song linking by names on the SHS100K video pairs: top-1, top-5, and F1 of pairs, on songs not used for tuning.

Usage: ``python -m benchmarks.names_first_form [tune|report] [folder of the shared data]``. The halves are split by the
hash of the song's key. The catalog is all distinct songs of the file (title and one performer); the query is the title
of another video of the song. Blocking here is by equal keys, runs of words and the nearest 40 keys by edit distance,
as PostgreSQL's trigrams would give; comparison is `identity.song_score.compare` itself.
"""

from __future__ import annotations

import csv
import sys
import uuid
import zlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from rapidfuzz import fuzz, process

from identity.evidence import Proposal, Verdict
from identity.names import title_key, title_keys
from identity.song import _runs
from identity.song_score import SongView, compare
from identity.subject import Subject, subject_from_item

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def half(title: str) -> str:
    """Which half a song belongs to."""
    return "tune" if zlib.crc32(title_key(title).encode()) % 2 else "report"


class Songs:
    """The songs of the file, blocked in memory."""

    def __init__(self, titles: set[str]) -> None:
        spellings: dict[str, set[str]] = defaultdict(set)
        for title in titles:
            spellings[title_key(title)].add(title)
        self.by_key: dict[str, set[str]] = defaultdict(set)
        self.views: dict[str, SongView] = {}
        for main, names in spellings.items():
            pairs = {(key, name) for name in names for key in title_keys(name)}
            self.views[main] = SongView(uuid.uuid5(uuid.NAMESPACE_OID, main), tuple(sorted(pairs)))
            for key, _ in pairs:
                self.by_key[key].add(main)
        self.keys = sorted(self.by_key)

    def rank(self, subject: Subject) -> list[tuple[str, Proposal]]:
        """Songs by verdict and probability, best first."""
        keys = [*subject.title_keys, *subject.other_keys, *_runs(title_key(subject.raw_title))]
        found = {main for key in keys for main in self.by_key.get(key, ())}
        for key, _, _ in process.extract(
            subject.title_keys[0], self.keys, scorer=fuzz.ratio, limit=40, score_cutoff=55
        ):
            found |= self.by_key[key]
        ranked = [(main, compare(subject, self.views[main])) for main in sorted(found)]
        order = {Verdict.SAME: 0, Verdict.REVIEW: 1, Verdict.WEAK: 2}
        return sorted(ranked, key=lambda pair: (order[pair[1].verdict], -pair[1].probability, pair[0]))


def main() -> None:
    """Prints the figures of one half."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else "report"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else SHARED_DATA
    with (folder / "video_pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [{k: (v or "").replace("\\,", ",") for k, v in row.items()} for row in csv.DictReader(file)]
    songs = Songs({row["song_title"] for row in rows})
    top1 = top5 = asked = 0
    hits = {verdict: [0, 0] for verdict in ("review or same", "at 0.5")}
    positives = 0
    misses = []
    for row in rows:
        if half(row["song_title"]) != wanted:
            continue
        item = {"title": row["other_video_title"]}
        subject = subject_from_item(item)
        main_key = title_key(row["song_title"])
        true = row["same_song"] == "1"
        proposal = compare(subject, replace(songs.views[main_key]))
        positives += true
        for name, said in (
            ("review or same", proposal.verdict is not Verdict.WEAK),
            ("at 0.5", proposal.probability >= 0.5),
        ):
            hits[name][0] += said and true
            hits[name][1] += said and not true
        if true:
            asked += 1
            ranked = [name for name, _ in songs.rank(subject)[:5]]
            top1 += ranked[:1] == [main_key]
            top5 += main_key in ranked
            if ranked[:1] != [main_key]:
                misses.append((row["song_title"], row["other_video_title"], ranked[:2], subject.title))
    print(
        f"half {wanted}: {asked} queries, {len(songs.views)} songs; top-1 {top1 / asked:.3f}, top-5 {top5 / asked:.3f}"
    )
    for name, (right, wrong) in hits.items():
        precision, recall = right / max(1, right + wrong), right / positives
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        print(f"pairs, {name}: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}")
    if wanted == "tune":
        for miss in misses[:60]:
            print(*miss, sep=" | ")


if __name__ == "__main__":
    main()
