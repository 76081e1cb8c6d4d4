"""SuperNodes that run signed apps alone, on real processes."""

import os

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")

from deploy import APP, PLAN, run_config
from deployment import Deployment
from fedprivacy.rounds import RunRecord
from flower_hub import Signer, hub

NODES = 4


@pytest.mark.nightly
def test_a_signed_app_runs_and_a_bundle_that_nobody_signed_is_refused(tmp_path):
    signer, folder = Signer(), tmp_path / "deployment"
    with hub(APP, signer) as address:
        deployment = Deployment(
            folder,
            NODES,
            APP / PLAN,
            trusted_entities=signer.entities(tmp_path / "trusted.yaml"),
            environment={**os.environ, "FLWR_SUPERGRID_API_URL": address},
        )
        with deployment:
            refused = deployment.run(APP, run_config(deployment, tmp_path / "no", 1, 40.0))
            refused.process.wait(120.0)
            assert "takes trusted apps alone" in refused.text, refused.text
            assert not (tmp_path / "no" / "record.json").exists()
            config = run_config(deployment, tmp_path / "yes", 1, 40.0)
            signed = deployment.run("@fedprivacy/hospitals", config)
            signed.process.wait(240.0)
    assert "the sum of 4 clients" in signed.text, signed.text
    record = RunRecord.from_json((tmp_path / "yes" / "record.json").read_text())
    assert any("a server that may lie" in line for line in record.guarantee.holds)
    assert [each.outcome for each in record.rounds] == ["sum"]
