"""Each alert fires in the situation that the runbook tells of, and is silent while all is well (by promtool)."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agg_server.watching.metrics import Metrics

ALERTS = Path(__file__).parents[1] / "deploy" / "alerts.yml"
RULES = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
# A value a minute, for three days.
WELL = {
    'up{job="fedit"}': "1x4320",
    "fedit_leads": "1x4320",
    'fedit_rounds_total{outcome="published"}': "0+0.02x4320",
    'fedit_rounds_total{outcome="failed"}': "0x4320",
    'fedit_rounds_total{outcome="abandoned"}': "0x4320",
    'fedit_job_failures_total{job="OpenSum"}': "0x4320",
    "fedit_last_version_timestamp_seconds": "0+60x4320",
    "fedit_finished": "0x4320",
    # 64 devices and a round an hour, in each of which one is lost.
    "fedit_devices_seen_last_day": "64x4320",
    "fedit_mustered_total": " ".join(f"{64 * hour}x59" for hour in range(72)),
    'fedit_dropped_total{phase="contribute",cause="no_upload"}': " ".join(f"{hour}x59" for hour in range(72)),
    "fedit_clip_range_ratio": "0.0625x1440 0.03x2879",
    "fedit_disk_free_bytes": "1000000000000x4320",
    'fedit_requests_total{route="/v1/poll",status="200"}': "0+600x4320",
    'fedit_requests_total{route="/v1/poll",status="503"}': "0x4320",
    'fedit_requests_total{route="/v1/poll",status="429"}': "0x4320",
    'fedit_loop_lag_seconds_bucket{le="0.25"}': "0+60x4320",
    'fedit_loop_lag_seconds_bucket{le="0.5"}': "0+60x4320",
    'fedit_loop_lag_seconds_bucket{le="+Inf"}': "0+60x4320",
    "fedit_writer_queue": "0x4320",
    "fedit_connections": "100x4320",
    "fedit_certificate_days_left": "90x4320",
}
TROUBLES: dict[str, dict[str, str]] = {
    "FeditDown": {'up{job="fedit"}': "0x4320"},
    "FeditNoLeader": {"fedit_leads": "0x4320"},
    # Each waits twelve hours for answers in vain.
    "FeditRoundsFail": {
        'fedit_rounds_total{outcome="published"}': "9x4320",
        'fedit_rounds_total{outcome="failed"}': "0x2879 1x719 2x721",
    },
    # At ever longer pauses: 5, 10, 20 … 300 s.
    "FeditJobsFail": {'fedit_job_failures_total{job="OpenSum"}': "0x4299 3 4 5 5 6 6 6 7x13"},
    "FeditNoNewVersion": {"fedit_last_version_timestamp_seconds": "0x4320"},
    "FeditDevicesGone": {"fedit_devices_seen_last_day": "2x4320"},
    # One round in a day, whose leader counts it; another replica has counted those before.
    "FeditManyDropped": {
        'fedit_dropped_total{phase="contribute",cause="no_upload"}': "0x4200 12x119",
        "fedit_mustered_total": "0x4200 30x119",
        'fedit_mustered_total{instance="other"}': "0+0.01x1440 14.4x2879",
    },
    # Doubled with each round of six hours.
    "FeditRangesWide": {"fedit_clip_range_ratio": "0.0625x2159 0.125x359 0.25x359 0.5x359 1x1080"},
    "FeditDiskFills": {"fedit_disk_free_bytes": "1000000000000-231000000x4320"},
    # Three devices that are told of a full disk, each a try a minute.
    "FeditErrors": {'fedit_requests_total{route="/v1/poll",status="503"}': "0+3x4320"},
    "FeditRefusals": {'fedit_requests_total{route="/v1/poll",status="429"}': "0+600x4320"},
    "FeditLoopLags": {'fedit_loop_lag_seconds_bucket{le="0.25"}': "0+50x4320"},
    "FeditQueueGrows": {"fedit_writer_queue": "2000x4320"},
    "FeditConnectionsFull": {"fedit_connections": "9500x4320"},
    "FeditCertificateEnds": {"fedit_certificate_days_left": "20x4320"},
}


def situation(alert: str, series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    """For promtool: after three days of these series the alert fires, or does not."""
    return {
        "name": f"{alert} {'in its situation' if fires else 'while all is well'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'clamp_max(count(ALERTS{{alertname="{alert}",alertstate="firing"}}), 1)',
                "eval_time": "4305m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


# One replica leads. The other one cannot reach the database, and tells what it knew a day and a half ago or more.
STALE: dict[str, dict[str, str]] = {
    "FeditNoNewVersion": {
        'fedit_last_version_timestamp_seconds{instance="stale"}': "0x4320",
        'fedit_finished{instance="stale"}': "0x4320",
    },
    "FeditDevicesGone": {
        "fedit_finished": "0x1440 1x2879",
        'fedit_finished{instance="stale"}': "0x4320",
        "fedit_devices_seen_last_day": "64x1440 0x2879",
        'fedit_devices_seen_last_day{instance="stale"}': "0x4320",
    },
    "FeditNoLeader": {'fedit_leads{instance="stale"}': "0x4320"},
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_each_alert_fires_in_its_situation_and_not_while_all_is_well(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    well = situation("FeditDown", WELL, fires=False)
    well["promql_expr_test"] += [situation(alert, WELL, fires=False)["promql_expr_test"][0] for alert in TROUBLES]
    asked = {rule["alert"]: rule["expr"] for rule in RULES}
    troubles = [
        situation(name, {s: v for s, v in (WELL | changed).items() if s.partition("{")[0] in asked[name]}, fires=True)
        for name, changed in TROUBLES.items()
    ]
    stale = [situation(name, WELL | told, fires=False) for name, told in STALE.items()]
    check = {
        "rule_files": [ALERTS.name],
        "evaluation_interval": "15m",
        "tests": [well, *troubles, *stale],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(check))
    line = ["promtool", "test", "rules", "test.yml"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_situation() -> None:
    assert [rule["alert"] for rule in RULES] == list(TROUBLES)


def test_what_alerts_count_is_there_from_the_start_at_zero() -> None:
    page = Metrics().page().decode()
    for series in (
        'fedit_rounds_total{outcome="failed"} 0.0',
        'fedit_rounds_total{outcome="published"} 0.0',
        'fedit_dropped_total{cause="no_upload",phase="contribute"} 0.0',
        'fedit_dropped_total{cause="unusable",phase="prepare"} 0.0',
        'fedit_job_failures_total{job="OpenSum"} 0.0',
    ):
        assert series in page, series
