"""What operators see of campaigns."""

from __future__ import annotations

import pytest

from catalog.database import Database
from catalog.models import Campaign
from catalog_api.campaigns.schemas import CampaignDetail, CampaignList, WaitingPage
from tests.catalog_api.conftest import Opener, key_of
from workflows.client import CampaignRunningError


class Workflows:
    """Stands where the workflows' client is."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.started: list[str] = []

    async def start_campaign(self, campaign_id: str) -> str:
        if self.failure:
            raise self.failure
        self.started.append(campaign_id)
        return "trigger-1"


async def test_campaigns_are_shown_to_operators(open_client: Opener, database: Database) -> None:
    with database.transaction() as session:
        campaign = Campaign(name="folk", spec={"name": "folk"})
        session.add(campaign)
    operator, moderator = key_of(database, "operator"), key_of(database, "moderator")
    async with open_client() as client:
        listed = await client.get("/api/v1/campaigns", headers=operator)
        assert [item.name for item in CampaignList.model_validate_json(listed.content).items] == ["folk"]
        shown = await client.get("/api/v1/campaigns/folk", headers=operator)
        found = CampaignDetail.model_validate_json(shown.content)
        assert (found.campaign.id, found.finished, found.runs) == (campaign.id, False, [])
        waiting = await client.get("/api/v1/campaigns/folk/waiting", headers=operator)
        assert WaitingPage.model_validate_json(waiting.content).items == []
        bad = await client.get("/api/v1/campaigns/folk/waiting?cursor=x", headers=operator)
        assert (bad.status_code, bad.json()["code"]) == (400, "bad_cursor")
        unknown = await client.get("/api/v1/campaigns/rock", headers=operator)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "campaign_not_found")
        for method, path in (("GET", ""), ("GET", "/folk"), ("GET", "/folk/waiting"), ("POST", "/folk/start")):
            refused = await client.request(method, f"/api/v1/campaigns{path}", headers=moderator)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (None, 202, None),
        (CampaignRunningError("busy"), 409, "campaign_running"),
        (OSError("away"), 503, "workflows_unavailable"),
    ],
)
async def test_a_campaign_is_started(
    open_client: Opener, database: Database, failure: Exception | None, status: int, code: str | None
) -> None:
    with database.transaction() as session:
        session.add(Campaign(name="folk", spec={}))
    workflows = Workflows(failure)
    async with open_client(workflow_client=workflows) as client:
        response = await client.post("/api/v1/campaigns/folk/start", headers=key_of(database, "operator"))
    assert (response.status_code, response.json().get("code")) == (status, code)
    assert len(workflows.started) == (status == 202)
