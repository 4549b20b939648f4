"""What `deploy/` says is what the program takes: linted where tools are, and run as processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from veilform.commands.services import deal, serve
from veilform.keys import Keys
from veilform.pipeline import SecureClassifier
from veilform.roles import Role
from veilform.serve.local import READY
from veilform.serve.remote import remote_client
from veilform.settings.kinds import KINDS
from veilform.settings.loading import tomllib

DEPLOY = Path(__file__).parents[2] / "deploy"
COMMANDS = {"deal": "dealer", "serve": "server", "gateway": "gateway"}


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return content


def manifests() -> list[dict[str, Any]]:
    paths = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return [each for path in paths for each in yaml.safe_load_all(path.read_text("utf-8"))]


def workloads() -> dict[str, dict[str, Any]]:
    return {
        each["metadata"]["name"]: each
        for each in manifests()
        if each["kind"] in ("Deployment", "StatefulSet")
    }


@pytest.mark.parametrize("command", KINDS)
def test_settings_have_known_keys(command: str) -> None:
    content = tomllib.loads((DEPLOY / f"settings/{command}.toml").read_text("utf-8"))
    kind = KINDS[command]
    assert set(content) <= set(kind.__struct_fields__)
    for path in re.findall(r'"(/[^"]*)"', str(content).replace("'", '"')):
        assert path.startswith(("/etc/veilform/", "/var/lib/veilform/"))


# Compose


def test_compose_keeps_parties_apart() -> None:
    content = compose()
    services = content["services"]
    assert set(services) == set(COMMANDS.values())
    internal = {name for name, net in content["networks"].items() if net.get("internal")}
    for command, name in COMMANDS.items():
        service = services[name]
        assert service["command"] == [command, "--config", f"/etc/veilform/{command}.toml"]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["ulimits"] == {"core": 0}
        mounted = [each.split(":") for each in service["volumes"]]
        for source, _, *mode in mounted:
            assert mode == ["ro"] or source.endswith("-stock")
        keys = [source for source, *_ in mounted if "certificates" in source]
        role = {"gateway": "client"}.get(name, name)
        assert keys == [f"./certificates/{role}"]  # its own, and no authority
    for one, other in (("dealer", "server"), ("dealer", "gateway"), ("server", "gateway")):
        shared = set(services[one]["networks"]) & set(services[other]["networks"])
        assert len(shared) == 1
        assert shared <= internal
    assert all(port.startswith("127.0.0.1:") for port in services["gateway"]["ports"])
    assert not any("ports" in services[name] for name in ("dealer", "server"))


def test_compose_by_docker() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def started(stack: ExitStack, arguments: list[str], settings: dict[str, str]) -> str:
    """Runs what a container would; returns where it listens."""
    environment = {**os.environ, **{f"VEILFORM_{key}": value for key, value in settings.items()}}
    child = subprocess.Popen(
        [sys.executable, "-m", "veilform", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    timer = threading.Timer(120.0, child.kill)
    timer.daemon = True
    timer.start()
    stack.callback(timer.cancel)
    stack.callback(child.communicate, timeout=10)
    stack.callback(child.terminate)
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith(READY), child.communicate(timeout=10)
    return line.removeprefix(READY).strip()


@pytest.fixture
def party_folders(tmp_path: Path) -> Path:
    keys = Keys.init(tmp_path / "authority")
    for role in Role:
        keys.issue(role, role.value, tmp_path / "certificates" / role.value)
    return tmp_path


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as each:
        yield each


def test_the_entry_points_of_compose_run(party_folders: Path, tiny: Path, stack: ExitStack) -> None:
    """The same arguments; what a container mounts elsewhere is told by the environment."""
    services = compose()["services"]

    def arguments(name: str) -> list[str]:
        return [
            str(DEPLOY / "settings" / Path(each).name) if each.startswith("/") else each
            for each in services[name]["command"]
        ]

    def own(name: str) -> dict[str, str]:
        folder = party_folders / "certificates" / name
        return {"CERTIFICATES": str(folder), "LISTEN": "127.0.0.1:0"}

    dealer = started(stack, arguments("dealer"), own("dealer"))
    public, stock = party_folders / "public", party_folders / "stock"
    more = {"DEALER": dealer, "MODEL": str(tiny), "STOCK": str(stock), "PUBLISH": str(public)}
    server = started(stack, arguments("server"), own("server") | more)
    client = remote_client(
        public, server, dealer, party_folders / "certificates", party_folders / "client-stock"
    )
    with SecureClassifier(client) as classifier:
        (answer,) = classifier("a good film")
    assert 0 <= float(answer["score"]) <= 1


# Kubernetes


@pytest.mark.parametrize(("command", "name"), COMMANDS.items())
def test_pods_are_restricted(command: str, name: str) -> None:
    """By the Pod Security Standard of that name, which needs no cluster to be read."""
    pod = workloads()[name]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]  # they would be VEILFORM_* of ours
    (container,) = pod["containers"]
    assert container["args"] == [command, "--config", f"/etc/veilform/settings/{command}.toml"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    role = {"gateway": "client"}.get(name, name)
    assert volumes["certificates"]["secret"]["secretName"] == f"veilform-{role}"
    assert volumes["certificates"]["secret"]["defaultMode"] == 0o440
    claims = {each["metadata"]["name"] for each in workloads()[name]["spec"].get(
        "volumeClaimTemplates", [])}  # fmt: skip
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes) | claims
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert ("httpGet" in container[probe]) == (name == "gateway")


def test_the_namespace_and_the_network_refuse_by_default() -> None:
    found = {(each["kind"], each["metadata"]["name"]): each for each in manifests()}
    labels = found["Namespace", "veilform"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    nothing = found["NetworkPolicy", "nothing-else"]["spec"]
    assert nothing["podSelector"] == {}
    assert "ingress" not in nothing
    for name in COMMANDS.values():
        assert ("NetworkPolicy", name) in found
        assert ("Service", name) in found


def test_kustomize() -> None:
    content = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text("utf-8"))
    for path in [*content["resources"], *content["configMapGenerator"][0]["files"]]:
        assert (DEPLOY / path).is_file()
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(DEPLOY)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(done.stdout)]
    assert kinds.count("NetworkPolicy") == 4
    assert kinds.count("ConfigMap") == 1


# systemd


@pytest.mark.parametrize("command", COMMANDS)
def test_units(command: str, tmp_path: Path) -> None:
    unit = (DEPLOY / f"systemd/veilform-{command}.service").read_text("utf-8")
    run = f"/opt/veilform/bin/veilform {command} --config /etc/veilform/{command}.toml"
    assert f"ExecStart={run}\n" in unit
    for line in ("NoNewPrivileges=true", "ProtectSystem=strict", "LimitCORE=0", "MemorySwapMax=0"):
        assert f"\n{line}\n" in unit
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / f"veilform-{command}.service"
    copy.write_text(unit.replace("/opt/veilform/bin/veilform", sys.executable), "utf-8")
    done = subprocess.run(
        [analyze, "verify", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert copy.name not in done.stderr


def test_the_image_runs_the_program() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["veilform"]' in dockerfile
    assert re.search(r"^USER 10001:10001$", dockerfile, re.M)
    root = DEPLOY.parent
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.M):
        assert all((root / source).exists() for source in line.split()[:-1])
    assert deal.__name__ in COMMANDS
    assert serve.__name__ in COMMANDS
