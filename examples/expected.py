"""How a crawl of the sample world must end, computed from the same data that the sites serve.

A source of a version is written ``source:source_key``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from examples.sites.world import BROKEN, OFFERS, TROUBLES, Offer

Partition = frozenset[frozenset[frozenset[str]]]
"""Songs, each a set of versions, each a set of sources."""

ENDLESS = frozenset({"trap", "too_deep"})
"""How the pages of an endless calendar may end; which comes first depends on the order of the crawl."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The end of an undisturbed crawl with no moderator at work.

    Attributes:
        songs: slug of `examples.music.songs` to its versions.
        review: candidates that wait for a moderator.
        failed: candidates whose audio cannot be had, to the reason.
        failures: by source, path of a page (with ``*`` at the end: a prefix) to the failure class of its incident.
        recovered: by source, pages that fail at first and then bring their item.
    """

    songs: Mapping[str, frozenset[frozenset[str]]]
    review: frozenset[str]
    failed: Mapping[str, str]
    failures: Mapping[str, Mapping[str, str]]
    recovered: Mapping[str, frozenset[str]]

    @property
    def partition(self) -> Partition:
        return frozenset(self.songs.values())

    @property
    def version_count(self) -> int:
        return sum(len(versions) for versions in self.songs.values())

    @property
    def source_count(self) -> int:
        return sum(len(sources) for versions in self.songs.values() for sources in versions)

    def differences(
        self,
        *,
        partition: Iterable[Iterable[Iterable[str]]],
        review: Iterable[str],
        failed: Mapping[str, str],
        incidents: Iterable[tuple[str, str, str]],
    ) -> list[str]:
        """What a crawl found otherwise, one sentence each; empty when all is as expected.

        Args:
            partition: published songs, versions, sources.
            review: keys of open review cases.
            failed: key to reason of failed candidates.
            incidents: source, path and failure class of each page that ended badly.
        """
        found = frozenset(frozenset(frozenset(version) for version in song) for song in partition)
        lines = [f"missing song: {_spell(song)}" for song in self.partition - found]
        lines += [f"unexpected song: {_spell(song)}" for song in found - self.partition]
        reviewed = frozenset(review)
        lines += [f"not in review: {key}" for key in self.review - reviewed]
        lines += [f"unexpectedly in review: {key}" for key in reviewed - self.review]
        for key in self.failed.keys() | failed.keys():
            if self.failed.get(key) != failed.get(key):
                lines.append(f"candidate {key}: expected {self.failed.get(key)}, found {failed.get(key)}")
        return sorted(lines + self._incident_differences(set(incidents)))

    def _incident_differences(self, incidents: set[tuple[str, str, str]]) -> list[str]:
        lines = []
        for source, paths in self.failures.items():
            for path, failure in paths.items():
                prefix = path.removesuffix("*")
                ends = {
                    f
                    for s, p, f in incidents
                    if s == source and (p == path or (prefix != path and p.startswith(prefix)))
                }
                if not ends or not (ends <= ENDLESS if prefix != path else ends == {failure}):
                    lines.append(
                        f"page {source} {path}: expected {failure}, found {', '.join(sorted(ends)) or 'nothing'}"
                    )
        for source, path, failure in incidents:
            known = self.failures.get(source, {})
            if path not in known and not any(k.endswith("*") and path.startswith(k[:-1]) for k in known):
                lines.append(f"page {source} {path}: unexpectedly {failure}")
        return lines


def _spell(song: frozenset[frozenset[str]]) -> str:
    return " | ".join(sorted(" + ".join(sorted(version)) for version in song))


def key_of(offer: Offer) -> str:
    """``source:source_key``."""
    return f"{offer.source}:{offer.key}"


def _expected() -> Expected:
    versions: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for offer in OFFERS:
        if not offer.doubtful:
            versions[offer.song.slug][offer.rendition.key].add(key_of(offer))
    failures: dict[str, dict[str, str]] = defaultdict(dict)
    for trouble in TROUBLES:
        failures[trouble.source][trouble.path] = trouble.failure
    recovered: dict[str, set[str]] = defaultdict(set)
    for offer in OFFERS:
        if offer.behaviour:
            recovered[offer.source].add(offer.path)
    return Expected(
        songs={
            slug: frozenset(frozenset(sources) for sources in of_song.values()) for slug, of_song in versions.items()
        },
        review=frozenset(key_of(offer) for offer in OFFERS if offer.doubtful),
        failed={key_of(offer): offer.failure for offer in BROKEN},
        failures={source: dict(paths) for source, paths in failures.items()},
        recovered={source: frozenset(paths) for source, paths in recovered.items()},
    )


EXPECTED = _expected()
