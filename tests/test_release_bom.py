"""A bill of materials has licences and edges from what was installed, and all that the locks name."""

import json

from release.bom import merged


def component(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "version": "1", "bom-ref": f"{name}==1", "type": "library", **more}


INSTALLED = {
    "metadata": {"component": component("agg-server")},
    "components": [component("fedit-shared"), component("Mako", licenses=[{"license": {"id": "MIT"}}])],
    "dependencies": [
        {"ref": "agg-server==1", "dependsOn": ["fedit-shared==1", "Mako==1"]},
        {"ref": "fedit-shared==1"},
        {"ref": "Mako==1"},
    ],
}
HASHED = [{"type": "distribution", "url": "https://pypi.org/simple/mako/", "hashes": [{"alg": "SHA-256"}]}]
LISTED = {"components": [component("mako", externalReferences=HASHED), component("torch")], "dependencies": []}


def test_what_is_installed_keeps_licences_and_edges_and_gets_hashes_and_what_is_locked_besides_is_in_it_once() -> None:
    bill = merged(json.loads(json.dumps(INSTALLED)), LISTED)
    assert [one["name"] for one in bill["components"]] == ["fedit-shared", "Mako", "torch"]
    assert bill["components"][1]["licenses"] == [{"license": {"id": "MIT"}}]
    assert bill["components"][1]["externalReferences"] == HASHED
    edges = {edge["ref"]: edge.get("dependsOn", []) for edge in bill["dependencies"]}
    assert edges["agg-server==1"] == ["Mako==1", "fedit-shared==1", "locked:torch==1"]
    assert set(edges) == {"agg-server==1", "fedit-shared==1", "Mako==1", "locked:torch==1"}
