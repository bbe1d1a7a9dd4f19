"""The fleet's budget: one suite over every store. Each `SharedBudget` stands for a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from activities.politeness import FreshPolicy
from activities.redis_politeness import RedisScopes
from catalog.database import Database
from catalog.repositories.politeness import PolitenessRepository
from crawlers.budget import breaker as rules
from crawlers.budget.ledger import Ledger, ScopeStore
from crawlers.budget.limits import BudgetLimits, Policy, parse_windows
from crawlers.budget.scope import LEASE_S
from crawlers.budget.shared import SharedBudget
from crawlers.errors import FailureClass
from crawlers.politeness import MemoryStore
from crawlers.ports import Claim, NotNow, Observed, Permit
from tests.catalog_api.test_shared import redis_server

__all__ = ["redis_server"]

GOOD = Observed(200, None, 0.01, 1000)


class Shifted:
    """A store whose clock can be put forward: hours pass in no time."""

    def __init__(self, store: ScopeStore) -> None:
        self._store = store
        self.ahead_s = 0.0

    def transact(self, keys: Any, change: Callable[[dict[str, dict[str, Any]], float], None]) -> None:
        self._store.transact(keys, lambda documents, now: change(documents, now + self.ahead_s))


class CountedLedger(Ledger):
    """``answered``: how many questions of each process; ``asking``: how many are under way."""

    answered: Counter[str]
    asking = 0

    def exchange(self, holder: str, asks: Any) -> Any:
        self.asking += 1
        try:
            return super().exchange(holder, asks)
        finally:
            self.answered[holder] += 1
            self.asking -= 1


class Fleet:
    """Processes over one store; ``policy``: what the operator set."""

    def __init__(self, store: ScopeStore) -> None:
        self.clock = Shifted(store)
        self.policy: dict[str, BudgetLimits] = {}
        self.ledger = CountedLedger(self.clock, lambda: Policy(self.policy))
        self.ledger.answered = Counter()

    def breaker(self, source: str) -> dict[str, Any]:
        """The breaker of a source as it is kept."""
        seen: dict[str, dict[str, Any]] = {}
        self.clock.transact([f"source:{source}"], lambda documents, now: seen.update(documents))
        return dict(seen[f"source:{source}"].get("breaker", {}))

    def process(self, name: str | None = None) -> SharedBudget:
        return SharedBudget(self.ledger, holder=name)

    async def hurry(self, times: float) -> None:
        """The store's clock runs so many times as fast, until it is cancelled."""
        while True:
            await asyncio.sleep(0.02)
            self.clock.ahead_s += 0.02 * (times - 1)


@pytest.fixture
def fleet() -> Fleet:
    """In memory: for rules that do not touch the store."""
    return Fleet(MemoryStore())


@pytest.fixture(params=["memory", "postgresql", "redis"])
def each_fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    if request.param == "memory":
        yield Fleet(MemoryStore())
        return
    repository = PolitenessRepository(request.getfixturevalue("database"))
    if request.param == "postgresql":
        yield Fleet(repository)
        return
    scopes = RedisScopes(request.getfixturevalue("redis_server").url, repository)
    yield Fleet(scopes)
    scopes.close()


async def work(
    budgets: list[SharedBudget],
    claims: list[Claim],
    *,
    workers: int,
    requests: int,
    takes_s: float = 0.0,
    group: str = "a:80",
) -> tuple[list[float], int, Counter[str]]:
    """So many requests by so many tasks, spread over processes and claims: starts, most at once, by campaign."""
    starts: list[float] = []
    campaigns: Counter[str] = Counter()
    out = most = 0
    left = requests

    async def one(number: int) -> None:
        nonlocal out, most, left
        budget, claim = budgets[number % len(budgets)], claims[number % len(claims)]
        while left > 0:
            left -= 1
            with await budget.acquire(group, claim) as permit:
                starts.append(time.monotonic())
                campaigns[claim.campaign] += 1
                out += 1
                most = max(most, out)
                await asyncio.sleep(takes_s)
                out -= 1
                permit.observed = GOOD

    await asyncio.gather(*(one(number) for number in range(workers)))
    return sorted(starts), most, campaigns


def most_in(starts: list[float], window_s: float) -> int:
    """The most starts within any window of this length."""
    return max(sum(start <= each < start + window_s for each in starts) for start in starts)


async def close(*budgets: SharedBudget) -> None:
    for budget in budgets:
        await budget.close()


async def test_three_processes_keep_one_rate_and_use_it(each_fleet: Fleet) -> None:
    budgets = [each_fleet.process() for _ in range(3)]
    claim = Claim("site", "c", limits=BudgetLimits(delay_s=0.1))
    starts, _, _ = await work(budgets, [claim], workers=9, requests=21)
    # 21 requests need 20 delays: not sooner; how much later depends on the machine.
    assert starts[-1] - starts[0] >= 2.0 - 0.12
    assert most_in(starts, 1.0) <= 12
    await close(*budgets)


async def test_concurrency_is_counted_over_all_processes(each_fleet: Fleet) -> None:
    budgets = [each_fleet.process() for _ in range(3)]
    claim = Claim("site", "c", limits=BudgetLimits(concurrency=3))
    _, most, _ = await work(budgets, [claim], workers=12, requests=120, takes_s=0.02)
    assert most == 3
    await close(*budgets)


async def test_fewer_places_than_processes_go_round(fleet: Fleet) -> None:
    budgets = [fleet.process() for _ in range(2)]
    claims = [Claim("site", f"c{n}", limits=BudgetLimits(concurrency=1)) for n in range(2)]
    clock = asyncio.create_task(fleet.hurry(4))  # else each holds the place for 2 s
    _, most, campaigns = await work(budgets, claims, workers=4, requests=60, takes_s=0.03)
    clock.cancel()
    assert most == 1
    assert min(campaigns.values()) >= 8
    await close(*budgets)


async def test_the_places_of_a_killed_process_come_back(each_fleet: Fleet) -> None:
    killed, other = each_fleet.process("killed"), each_fleet.process("other")
    claim = Claim("site", "c", limits=BudgetLimits(concurrency=2))
    for _ in range(2):
        await killed.acquire("a:80", claim)
    # It ends without a word: its task would have renewed the lease.
    assert killed._pump is not None
    killed._pump.cancel()
    waiting = asyncio.create_task(other.acquire("a:80", claim))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    each_fleet.clock.ahead_s += LEASE_S
    async with asyncio.timeout(20):
        (await waiting).release(GOOD)
    await close(other)


async def test_a_process_that_lives_keeps_its_place(fleet: Fleet) -> None:
    one, other = fleet.process(), fleet.process()
    claim = Claim("site", "c", limits=BudgetLimits(concurrency=1))
    permit = await one.acquire("a:80", claim)
    waiting = asyncio.create_task(other.acquire("a:80", claim))
    for _ in range(3):  # half a lease each, renewed in between
        await asyncio.sleep(0.8)
        fleet.clock.ahead_s += LEASE_S / 2
    assert not waiting.done()
    permit.release(GOOD)
    async with asyncio.timeout(20):
        (await waiting).release(GOOD)
    await close(one, other)


async def test_campaigns_share_by_weight(fleet: Fleet) -> None:
    budgets = [fleet.process() for _ in range(2)]
    limits = BudgetLimits(delay_s=0.03)
    claims = [Claim("site", "heavy", 3.0, limits=limits), Claim("site", "light", 1.0, limits=limits)]
    # In one process both campaigns; and in two, one each.
    (_, _, in_one), (_, _, in_two) = await asyncio.gather(
        work(budgets[:1], claims, workers=8, requests=80),
        work(budgets, [replace(claim, source="other") for claim in claims], workers=8, requests=80, group="b:80"),
    )
    assert 50 <= in_one["heavy"] <= 68
    assert 44 <= in_two["heavy"] <= 68
    await close(*budgets)


async def test_urgent_requests_go_first_within_their_campaign(fleet: Fleet) -> None:
    budget = fleet.process()
    limits = BudgetLimits(delay_s=0.05, concurrency=1)
    order: list[int] = []

    async def one(priority: int) -> None:
        with await budget.acquire("a:80", Claim("site", "c", priority=priority, limits=limits)):
            order.append(priority)

    first = await budget.acquire("a:80", Claim("site", "c", limits=limits))
    tasks = [asyncio.create_task(one(priority)) for priority in (0, 5, 1, 5, 9)]
    await asyncio.sleep(0.02)
    first.release(GOOD)
    await asyncio.gather(*tasks)
    assert order == [9, 5, 5, 1, 0]
    await close(budget)


async def test_the_politest_of_all_wishes_stands(fleet: Fleet) -> None:
    fleet.policy["source:site"] = BudgetLimits(delay_s=0.15)
    budget = fleet.process()
    starts, _, _ = await work([budget], [Claim("site", "c", limits=BudgetLimits(0.01))], workers=3, requests=5)
    assert starts[-1] - starts[0] >= 4 * 0.15 - 0.1
    await budget.configure("b:80", delay_s=0.2, wisher="robots.txt")
    starts, _, _ = await work([budget], [Claim("other", "c")], workers=3, requests=4, group="b:80")
    assert starts[-1] - starts[0] >= 3 * 0.2 - 0.1
    await close(budget)


async def test_a_source_is_limited_over_all_its_hosts(fleet: Fleet) -> None:
    fleet.policy["source:site"] = BudgetLimits(delay_s=0.1, concurrency=2)
    budgets = [fleet.process() for _ in range(2)]
    claim = Claim("site", "c")
    results = await asyncio.gather(*(work(budgets, [claim], workers=4, requests=6, group=f"h{n}:80") for n in range(3)))
    starts = sorted(start for each, _, _ in results for start in each)
    assert starts[-1] - starts[0] >= 17 * 0.1 - 0.15
    await close(*budgets)


async def test_hosts_under_a_pattern_are_one_group(fleet: Fleet) -> None:
    fleet.policy["host:*.cdn.example"] = BudgetLimits(delay_s=0.1)
    budget = fleet.process()
    results = await asyncio.gather(
        *(work([budget], [Claim()], workers=2, requests=4, group=f"r{n}.cdn.example:443") for n in range(2))
    )
    starts = sorted(start for each, _, _ in results for start in each)
    assert starts[-1] - starts[0] >= 7 * 0.1 - 0.12
    await close(budget)


async def test_a_limit_changes_in_mid_crawl(fleet: Fleet) -> None:
    budget = fleet.process()
    crawl = asyncio.create_task(work([budget], [Claim("site", "c")], workers=4, requests=100_000, takes_s=0.002))
    lane = budget._lane("a:80", "site")
    async with asyncio.timeout(20):
        while not lane.in_flight:
            await asyncio.sleep(0.01)
        fleet.policy["source:site"] = BudgetLimits(delay_s=0.5, concurrency=1)
        while lane._delay_s != 0.5:
            await asyncio.sleep(0.05)
        assert lane.in_flight <= 4
        await asyncio.sleep(0.1)
        assert lane.in_flight <= 1
        del fleet.policy["source:site"]
        while lane._metered:
            await asyncio.sleep(0.05)
    crawl.cancel()
    await asyncio.gather(crawl, return_exceptions=True)
    await close(budget)


async def told(budget: SharedBudget, claim: Claim, group: str = "a:80") -> NotNow | None:
    """Why no permit is given; None: one was, and it went well."""
    try:
        (await budget.acquire(group, claim)).release(GOOD)
    except NotNow as wait:
        return wait
    return None


async def test_retry_after_holds_for_everybody(each_fleet: Fleet) -> None:
    one, other = each_fleet.process(), each_fleet.process()
    assert await told(other, Claim("site")) is None
    permit = await one.acquire("a:80", Claim("site"))
    start = time.monotonic()
    permit.release(Observed(429, FailureClass.RATE_LIMITED, 0.01, 10, 1.5))
    await one.acquire("a:80", Claim("site"))
    assert time.monotonic() - start >= 1.4
    await close(one, other)


async def test_a_long_penalty_is_told_and_not_waited_for(fleet: Fleet) -> None:
    one, other = fleet.process(), fleet.process()
    permit = await one.acquire("a:80", Claim("site"))
    permit.release(Observed(503, FailureClass.RATE_LIMITED, 0.01, 10, 3600.0))
    async with asyncio.timeout(20):
        while await told(one, Claim("site")) is None:
            pass
    wait = await told(other, Claim("site"))
    assert wait is not None
    assert (wait.reason, wait.waiting_on) == ("penalty", "source")
    assert 3500 < wait.seconds <= 3600
    assert await told(other, Claim("site"), "b:80") is None  # another group is not concerned
    await close(one, other)


async def test_the_requests_of_a_day(each_fleet: Fleet) -> None:
    budgets = [each_fleet.process() for _ in range(2)]
    claim = Claim("site", "c", patience_s=0.0, limits=BudgetLimits(per_day=10))
    answers = [await told(budgets[n % 2], claim) for n in range(14)]
    assert sum(each is None for each in answers) == 10
    last = answers[-1]
    assert last is not None
    assert (last.reason, last.waiting_on, last.whole_source) == ("daily_requests", "schedule", True)
    each_fleet.clock.ahead_s += last.seconds + 1
    forget_waits(*budgets)
    assert await told(budgets[0], claim) is None
    await close(*budgets)


async def test_the_bytes_of_a_day(fleet: Fleet) -> None:
    budget = fleet.process()
    claim = Claim("site", "c", patience_s=0.0, limits=BudgetLimits(bytes_per_day=5000))
    async with asyncio.timeout(20):
        while (wait := await told(budget, claim)) is None:
            await asyncio.sleep(0.05)
    assert wait.reason == "daily_bytes"
    await close(budget)


async def test_outside_its_window_nothing_is_asked(fleet: Fleet) -> None:
    minute = int(time.time() // 60) % 1440
    start, end = (minute + 120) % 1440, (minute + 180) % 1440
    window = f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    fleet.policy["source:site"] = BudgetLimits(windows=(parse_windows([window], "UTC"),))
    budget = fleet.process()
    wait = await told(budget, Claim("site"))
    assert wait is not None
    assert (wait.reason, wait.waiting_on) == ("outside_window", "schedule")
    assert 7000 < wait.seconds <= 7200
    assert window in wait.detail
    await close(budget)


async def test_overload_slows_down_and_good_answers_recover(fleet: Fleet) -> None:
    budget = fleet.process()
    claim = Claim(campaign="c", limits=BudgetLimits(delay_s=0.01))
    lane = budget._lane("a:80", "")
    async with asyncio.timeout(30):
        while lane._delay_s < 0.15:
            (await budget.acquire("a:80", claim)).release(Observed(503, FailureClass.TIMEOUT, 0.01, 10))
            fleet.clock.ahead_s += 0.25  # one overload counts once a second
        while lane._delay_s > 0.011:
            assert await told(budget, claim) is None
    await close(budget)


async def test_a_cancelled_waiter_leaves_nothing_behind(fleet: Fleet) -> None:
    budget = fleet.process()
    claim = Claim("site", "c", limits=BudgetLimits(concurrency=1))
    first = await budget.acquire("a:80", claim)
    waiters = [asyncio.create_task(budget.acquire("a:80", claim)) for _ in range(3)]
    await asyncio.sleep(0.05)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    first.release(GOOD)
    second = await budget.acquire("a:80", claim)
    # Cancelled in the moment in which the permit was handed out: it goes back.
    waiter = asyncio.create_task(budget.acquire("a:80", claim))
    await asyncio.sleep(0)
    second.release(GOOD)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert await told(budget, claim) is None
    assert budget._lanes["a:80", "site"].in_flight == 0
    await close(budget)


async def test_a_permit_is_released_once(fleet: Fleet) -> None:
    budget = fleet.process()
    permit = await budget.acquire("a:80", Claim("site"))
    for _ in range(3):
        permit.release(GOOD)
    assert budget._lanes["a:80", "site"].in_flight == 0
    await close(budget)


# --- the breaker


async def see(budget: SharedBudget, claim: Claim, *failures: FailureClass | None) -> None:
    for failure in failures:
        (await budget.acquire("a:80", claim)).release(Observed(200, failure, 0.01, 10))


async def opened(budget: SharedBudget, claim: Claim, group: str = "a:80") -> NotNow:
    """Waits until the budget refuses because the breaker is open."""
    async with asyncio.timeout(20):
        while (wait := await told(budget, claim, group)) is None or wait.reason != "breaker_open":
            await asyncio.sleep(0.02)
    return wait


def forget_waits(*budgets: SharedBudget) -> None:
    """The store's clock was put forward; the local ones were not."""
    for budget in budgets:
        for lane in budget._lanes.values():
            lane._wait_until = 0.0


async def both(fleet: Fleet, one: SharedBudget, other: SharedBudget, claim: Claim) -> list[Permit]:
    """The permits that either process gets out of several requests, until both know that the rest has to wait."""
    forget_waits(one, other)
    before = {budget: fleet.ledger.answered[budget._holder] for budget in (one, other)}
    requests = {asyncio.create_task(budget.acquire("a:80", claim)) for budget in before for _ in range(3)}

    def settled() -> bool:
        soon = time.monotonic() + 0.5
        return not fleet.ledger.asking and all(
            fleet.ledger.answered[budget._holder] >= count + 2
            or (
                fleet.ledger.answered[budget._holder] > count
                and all(lane.ask_at > soon for lane in budget._lanes.values())
            )
            for budget, count in before.items()
        )

    over, calm = time.monotonic() + 5.0, 0
    while calm < 3 and time.monotonic() < over and not all(each.done() for each in requests):
        await asyncio.sleep(0.02)
        calm = calm + 1 if settled() else 0
    for each in requests:
        each.cancel()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    return [each for each in answers if isinstance(each, Permit)]


async def test_a_bot_check_opens_the_breaker_for_the_fleet_and_one_probe_closes_it(each_fleet: Fleet) -> None:
    one, other = each_fleet.process(), each_fleet.process()
    claim = Claim("site", "c")
    await see(one, claim, None, FailureClass.BOT_CHECK)
    wait = await opened(other, claim, "b:80")
    assert wait.whole_source
    assert wait.waiting_on == "source"
    assert "robot" in wait.detail
    assert 0 < wait.seconds <= rules.COOL_DOWN_S
    assert await told(other, Claim("another", "c")) is None  # other sources are not concerned
    each_fleet.clock.ahead_s += rules.COOL_DOWN_S
    permits = await both(each_fleet, one, other, claim)
    # Exactly one of the fleet may probe; it fails, and the cool-down doubles.
    assert len(permits) == 1
    permits[0].release(Observed(200, FailureClass.BOT_CHECK, 0.01, 10))
    async with asyncio.timeout(20):
        while each_fleet.breaker("site").get("trips") != 2:
            await asyncio.sleep(0.02)
    each_fleet.clock.ahead_s += 1.5 * rules.COOL_DOWN_S
    assert len(await both(each_fleet, one, other, claim)) == 0
    each_fleet.clock.ahead_s += rules.COOL_DOWN_S
    permits = await both(each_fleet, one, other, claim)
    assert len(permits) == 1
    permits[0].release(GOOD)
    async with asyncio.timeout(20):
        while True:
            forget_waits(one, other)
            if await told(one, claim) is None and await told(other, claim) is None:
                break
    await close(one, other)


async def test_a_probe_that_was_never_sent_leaves_room_for_another(fleet: Fleet) -> None:
    one, other = fleet.process(), fleet.process()
    claim = Claim("site", "c")
    await see(one, claim, None, FailureClass.BOT_CHECK)
    await opened(one, claim)
    fleet.clock.ahead_s += rules.COOL_DOWN_S
    (permit,) = await both(fleet, one, other, claim)
    permit.release()
    async with asyncio.timeout(20):
        while not (permits := await both(fleet, one, other, claim)):
            pass
    assert len(permits) == 1
    # And one whose process was killed is lost after a while.
    fleet.clock.ahead_s += rules.PROBE_S
    async with asyncio.timeout(20):
        while not (permits := await both(fleet, one, other, claim)):
            pass
    await close(one, other)


async def test_a_used_up_session_and_a_burst_open_it(fleet: Fleet) -> None:
    budget = fleet.process()
    session = Claim("session", "c")
    await see(budget, session, *[None] * 5, *[FailureClass.AUTH_REQUIRED] * rules.AUTH_AFTER_SUCCESS)
    assert "session" in (await opened(budget, session)).detail
    burst = Claim("burst", "c")
    await see(budget, burst, *[None] * 5, *[FailureClass.SERVER_ERROR] * rules.BURST)
    assert "server_error" in (await opened(budget, burst)).detail
    missing = Claim("missing", "c")
    await see(budget, missing, *[FailureClass.NOT_FOUND] * 40)
    await see(budget, missing, *[None] * 30, *[FailureClass.SERVER_ERROR] * 30)
    assert await told(budget, missing) is None
    await close(budget)


async def test_what_is_told_in_words_only_counts_as_well(fleet: Fleet) -> None:
    """yt-dlp reads a bot check in an answer whose permit is long given back."""
    budget = fleet.process()
    claim = Claim("site", "c")
    await see(budget, claim, None)
    budget.report("a:80", claim, Observed(None, FailureClass.BOT_CHECK))
    assert "bot_check" in (await opened(budget, claim)).detail
    await close(budget)


async def test_the_operator_can_force_either(fleet: Fleet) -> None:
    budget = fleet.process()
    claim = Claim("site", "c")
    await asyncio.to_thread(fleet.ledger.force_breaker, "site", "open")
    wait = await opened(budget, claim)
    assert wait.waiting_on == "operator"
    await asyncio.to_thread(fleet.ledger.force_breaker, "site", "close")
    forget_waits(budget)
    await see(budget, claim, *[FailureClass.BOT_CHECK] * 3)
    assert await told(budget, claim) is None
    await asyncio.to_thread(fleet.ledger.force_breaker, "site", "auto")
    await see(budget, claim, FailureClass.BOT_CHECK)
    await opened(budget, claim)
    await close(budget)


# --- what there is to see


async def test_the_snapshot_tells_what_is_in_force(database: Database) -> None:
    repository = PolitenessRepository(database)
    repository.set_limits("source:site", BudgetLimits(delay_s=2.0, per_day=100).to_json())
    budget = SharedBudget(Ledger(repository, FreshPolicy(repository)))
    permit = await budget.acquire("a:80", Claim("site", "c", limits=BudgetLimits(0.5, 2)))
    states = {f"{each.kind}:{each.name}": each for each in repository.snapshot()}
    assert states["source:site"].delay_s == 2.0
    assert states["source:site"].requests_today == 1
    assert states["source:site"].limits["per_day"] == 100
    assert (states["group:a:80"].delay_s, states["group:a:80"].limits["concurrency"]) == (0.5, 2)
    assert [each.state for each in repository.breaker_states()] == ["closed"]
    permit.release(Observed(200, FailureClass.BOT_CHECK, 0.01, 10))
    async with asyncio.timeout(20):
        while (breaker := repository.breaker_states()[0]).state != "open":
            await asyncio.sleep(0.02)
    assert breaker.reason == "bot_check"
    assert breaker.since is not None
    assert breaker.next_probe_at is not None
    await close(budget)
    assert repository.snapshot()[0].holders == 0
    repository.set_limits("source:site", {})
    assert repository.limits() == {}
    with database.transaction() as session:
        session.execute(text("UPDATE politeness_scopes SET updated_at = now() - interval '30 days'"))
    assert repository.sweep() == 1  # what an open breaker says is not forgotten
