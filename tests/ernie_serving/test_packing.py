"""The image, the manifests and the monitoring agree with the service that they are for, and with each other.

`make quality` has their linters. No container is built here: what the Dockerfile copies is copied, and served from.
"""

import ast
import http.client
import importlib.util
import json
import re
import shutil
import socket
import ssl
import subprocess
from fnmatch import fnmatch
from typing import Any, Dict, Iterator, List

import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving_process import ServiceProcess, wait_until
from ernie_inference.text_output import to_json
from ernie_serving.access import Tls
from ernie_serving.client import Client
from ernie_serving.metrics import FACTS, Metrics, ServiceMetrics
from ernie_serving.protocol import Code
from ernie_serving.service_config import GRACE_SECONDS, SERVICE_OPTIONS, parse_config, read_config
from tests.support.scripts import ROOT

SERVING = ROOT / "deploy" / "serving"
KUBERNETES, MONITORING = SERVING / "kubernetes", SERVING / "monitoring"
SERVICE_FILE = KUBERNETES / "service.yml"
SECURED = KUBERNETES / "secured"
MANIFESTS = [path for path in sorted(KUBERNETES.glob("*.yml")) if path.name not in ("kustomization.yml", "service.yml")]
ENGINES = ("paddle", "onnxruntime", "openvino")


def objects() -> Iterator[Dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def the(kind: str, name: str = "ernie-serving") -> Dict[str, Any]:
    (found,) = [each for each in objects() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def container() -> Dict[str, Any]:
    (found,) = the("Deployment")["spec"]["template"]["spec"]["containers"]
    return found


# ---------------------------------------------------------------- the image


def instructions(name: str) -> List[List[str]]:
    """The words of every instruction of the Dockerfile of that name."""
    text = re.sub(r"\\\n", " ", (SERVING / "Dockerfile").read_text(encoding="utf-8"))
    return [line.split()[1:] for line in text.splitlines() if line.split()[:1] == [name]]


def test_what_the_image_copies_is_sent_and_enough(serving_dir, tmp_path, monkeypatch):
    """The service runs from the copied files alone, and writes nothing but temporary files, which it removes."""
    sent = [line[1:] for line in (SERVING / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    image, temporary, models = tmp_path / "image", tmp_path / "tmp", tmp_path / "models"
    sources = [words[0] for words in instructions("COPY") if not words[0].startswith("--from")]
    for source in sources:
        for path in ROOT.glob(source.replace("${ENGINE}", "*")):
            place = path.relative_to(ROOT).as_posix()
            assert any(fnmatch(place, pattern) for pattern in sent), f"{place} is not sent to the build"
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            (image / place).parent.mkdir(parents=True, exist_ok=True)
            copy(path, image / place)
    assert {"deploy/python", "deploy/serving"} <= set(sources)
    shutil.copytree(serving_dir("seq_cls"), models)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    service = ServiceProcess("seq_cls", models, "--engine=onnxruntime", "--thread_num=1", root=image)
    before = sorted(tmp_path.rglob("*"))
    try:
        assert Client([service.endpoint]).predict(["好"])
        assert [path.name for path in temporary.iterdir() if path.name.startswith("ernie-metrics-")]
    finally:
        assert service.stop() == 0
    assert not list(temporary.iterdir())
    assert sorted(path for path in before if temporary not in path.parents) == sorted(tmp_path.rglob("*"))


def test_what_the_image_starts_is_there():
    command = json.loads(" ".join(instructions("CMD")[-1]))
    assert (ROOT / command[0]).is_file()
    config = parse_config(None, None, [word.replace("deploy", str(ROOT / "deploy")) for word in command[1:]])
    assert config.host == "0.0.0.0"
    ports = {str(port) for port in (config.rpc_port, config.http_port, config.monitor_port)}
    assert set(instructions("EXPOSE")[0]) == ports
    (check,) = instructions("HEALTHCHECK")
    assert f"http://127.0.0.1:{config.monitor_port}/health" in " ".join(check)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_requirements_of_an_image_are_those_that_are_tested(engine):
    pinned = {line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line}
    here = [line.strip() for line in (ROOT / "requirements" / f"serving-{engine}.txt").read_text().splitlines()]
    here = [line for line in here if "==" in line]
    assert len(here) > 30 and not set(here) - pinned
    assert sum(line.split("==")[0] in ("paddlepaddle", "onnxruntime", "openvino") for line in here) == 1
    assert not [line for line in here if line.split("==")[0] in ("paddlenlp", "paddleslim", "opencv-python", "ruff")]


def test_the_requirements_of_an_image_hold_what_the_service_imports():
    """But for the engines and their converters, of which there is one, or none."""
    # modules whose package is called otherwise
    named = {"yaml": "pyyaml", "google": "protobuf", "grpc": "grpcio", "grpc_health": "grpcio-health-checking"}
    engines = {"paddle", "paddle2onnx", "onnx", "onnxruntime", "openvino"}
    ours = {"ernie_inference", "ernie_serving", "ernie_suite"}
    modules = set()
    for package in (SERVING / "ernie_serving", ROOT / "deploy" / "python" / "ernie_inference"):
        for path in package.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                modules |= {name.split(".")[0] for name in names}
    needed = {name for name in modules - engines - ours if not is_of_python(name)}
    listed = (ROOT / "requirements" / "serving-onnxruntime.txt").read_text().splitlines()
    missing = {named.get(name, name.replace("_", "-")) for name in needed} - {line.split("==")[0] for line in listed}
    assert len(needed) > 5 and not missing


def is_of_python(name: str) -> bool:
    """Whether a module belongs to Python's own library."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:  # not installed, or a folder without __init__.py, as google
        return False
    return spec.origin in ("built-in", "frozen") or "site-packages" not in spec.origin


# ---------------------------------------------------------------- Kubernetes


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_what_kubernetes_takes(path):
    for content in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(content, "1.37", strict=True)


def test_every_manifest_is_applied():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yml").read_text())
    assert sorted(kustomization["resources"]) == [path.name for path in MANIFESTS]
    (generated,) = kustomization["configMapGenerator"]
    assert generated["files"] == [SERVICE_FILE.name]
    volumes = {volume["name"]: volume for volume in the("Deployment")["spec"]["template"]["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == generated["name"]


def test_the_secured_deployment_adds_to_the_plain_one():
    """Its list of arguments stands in the place of the other one; what is mounted is what they name."""
    own = yaml.safe_load((SECURED / "deployment.yml").read_text())
    kubernetes_validate.validate(own, "1.37", strict=True)
    assert own["metadata"] == the("Deployment")["metadata"]
    assert own["spec"]["selector"] == the("Deployment")["spec"]["selector"]
    pod = own["spec"]["template"]["spec"]
    (secured,) = pod["containers"]
    before = container()["args"]
    assert secured["name"] == container()["name"] and secured["args"][: len(before)] == before
    options = dict(argument[2:].split("=") for argument in secured["args"][len(before) :])
    assert set(options) == {"tls_cert", "tls_key", "api_key_file"} <= set(SERVICE_OPTIONS)
    secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"]}
    assert {secret["defaultMode"] for secret in secrets.values()} == {0o440}
    names = {mount["mountPath"]: secrets[mount["name"]]["secretName"] for mount in secured["volumeMounts"]}
    # The names of the Secrets, and of their files, are those that the README's commands make.
    made = " ".join(ASKING["README.md"].replace("\\\n", " ").split())
    for file in options.values():
        folder, _, name = file.rpartition("/")
        assert (
            f"create secret tls {names[folder]} --cert=" in made
            and name in ("tls.crt", "tls.key")
            or (f"create secret generic {names[folder]} --from-file={name}=" in made)
        ), file


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("components", [[], ["secured"]])
def test_kustomize_makes_manifests_that_kubernetes_takes(tmp_path, components):
    folder = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    with open(folder / "kustomization.yml", "a", encoding="utf-8") as file:
        file.write(f"components: {json.dumps(components)}\n")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}
    for each in made.values():
        kubernetes_validate.validate(each, "1.37", strict=True)
    ports = [made["Service", name]["spec"]["ports"][0] for name in ("ernie-serving", "ernie-serving-grpc")]
    (service,) = made["Deployment", "ernie-serving"]["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"] for mount in service["volumeMounts"]}
    assert [port["port"] for port in ports] == ([443, 18090] if components else [80, 18090])
    assert ("https" in {port["appProtocol"] for port in ports}) == bool(components)
    assert mounts == {"config", "models", "tmp"} | ({"tls", "api-keys"} if components else set())
    assert service["readinessProbe"] == container()["readinessProbe"]  # the monitor's port is as it was


def test_ports_and_time_limits_are_the_services_own():
    options = read_config(SERVICE_FILE)
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"grpc": options["rpc_port"], "http": options["http_port"], "monitor": options["monitor_port"]}
    for each in objects():
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= set(ports)
    annotations = the("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(options["monitor_port"])
    pod = the("Deployment")["spec"]["template"]["spec"]
    stopping = (options["pre_stop_delay"] + options["drain_timeout"]) / 1000
    assert pod["terminationGracePeriodSeconds"] > stopping + GRACE_SECONDS
    assert options["drain_timeout"] > options["timeout"]
    assert options["thread_num"] == int(container()["resources"]["limits"]["cpu"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    for model in options["models"].values():
        assert model["model_dir"].startswith(mounts["models"] + "/")
    assert f"--config={mounts['config']}/{SERVICE_FILE.name}" in container()["args"]
    assert (ROOT / container()["args"][0]).is_file()


def test_memory_is_enough_for_what_was_measured():
    """Twice, as there are two of a model while it is reloaded."""
    measured = [int(mb) for mb in re.findall(r"^memory +\d+ MB, at the end (\d+) MB", ASKING["README.md"], flags=re.M)]
    assert measured and int(container()["resources"]["limits"]["memory"].replace("Gi", "")) * 2**30 > 2e6 * max(
        measured
    )
    (volume,) = [each for each in the("Deployment")["spec"]["template"]["spec"]["volumes"] if "emptyDir" in each]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}


def test_the_labels_that_select_pods_are_theirs():
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    for each in objects():
        spec = each["spec"]
        for selector in (spec.get("selector"), spec.get("podSelector")):
            if selector:
                assert selector.get("matchLabels", selector).items() <= labels.items(), each["kind"]
    assert the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == the("Deployment")["metadata"]["name"]


def test_probes_ask_pages_that_are_there(services):
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert services("seq_cls").get(container()[name]["httpGet"]["path"])[0] == 200


# ---------------------------------------------------------------- monitoring


@pytest.fixture(scope="module")
def published() -> Dict[str, set]:
    """The labels of every metric that a service publishes, by the name of its samples."""
    worker, service = Metrics(["a"]), ServiceMetrics(list)
    for code in Code:
        worker.request("a", code, texts=1, seconds=0.1)
    service.models([dict.fromkeys(FACTS, "a")])
    names: Dict[str, set] = {}
    for family in [*worker.registry.collect(), *text_string_to_metric_families(service.page()[1].decode())]:
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    service.close()
    return {**names, "ernie_worker_memory_bytes": {"worker"}}


ASKING = {
    **{path.name: path.read_text(encoding="utf-8") for path in sorted(MONITORING.iterdir())},
    "autoscaling.yml": (KUBERNETES / "autoscaling.yml").read_text(encoding="utf-8"),
    "README.md": (SERVING / "README.md").read_text(encoding="utf-8"),
}
OF_PROMETHEUS = {"instance", "namespace", "pod", "job", "le"}  # labels that it adds, and that of buckets


@pytest.mark.parametrize("name", ASKING)
def test_every_metric_that_is_asked_for_is_published(name, published):
    families = {re.sub(r"_(bucket|sum|count)$", "", each) for each in published}
    asked = set(re.findall(r"\bernie_[a-z_]+\b", ASKING[name])) - {"ernie_inference", "ernie_serving", "ernie_suite"}
    assert asked and asked <= set(published) | families, asked - set(published) - families
    for metric, matchers in re.findall(r"\b(ernie_[a-z_]+)\{([^}]*)\}", ASKING[name]):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers.replace('\\"', '"')))
        assert labels <= published[metric] | OF_PROMETHEUS, (metric, labels)


def test_err_no_in_queries_are_codes():
    """And what counts as a failure does so everywhere."""
    queries = {match for text in ASKING.values() for match in re.findall(r'err_no=~\\?"([0-9|]+)', text)}
    (failures,) = queries
    assert {int(code) for code in failures.split("|")} == {Code.STOPPING, Code.BUSY, Code.TIMEOUT, Code.FAILED}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules():
    subprocess.run(["promtool", "check", "rules", str(MONITORING / "alerts.yml")], check=True)


# ---------------------------------------------------------------- nginx

NGINX = (SERVING / "nginx.conf").read_text(encoding="utf-8")


def test_nginx_keeps_connections_for_less_time_than_the_service():
    from ernie_serving.rpc_front import IDLE_SECONDS
    from ernie_serving.service_config import ServiceConfig

    kept = dict(re.findall(r"upstream (\w+) \{.*?keepalive_timeout (\d+)s;", NGINX, flags=re.DOTALL))
    assert int(kept["ernie_http"]) * 1000 < ServiceConfig.keep_alive and int(kept["ernie_rpc"]) < IDLE_SECONDS


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx or openssl is not installed")
def test_nginx_hands_requests_on(services, tmp_path):
    """Over HTTP and over gRPC, with TLS at the proxy, and with the id that the client gave."""
    service, name = services("seq_cls"), "ernie.example.com"
    tls = tmp_path / "tls"
    tls.mkdir()
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    made += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(tls / "tls.key"), "-out", str(tls / "tls.crt")]
    subprocess.run(["openssl", *made], check=True, capture_output=True)
    ports = {old: free_port() for old in ("443", "18443")}
    text = re.sub(r"\n *server 10\.0\.0\.2.*", "", NGINX)
    for old, new in {
        "10.0.0.1:9999": service.http,
        "10.0.0.1:18090": service.endpoint,
        "/etc/nginx/tls": tls,
        "/var/log/nginx": tmp_path,
        "/run/nginx.pid": tmp_path / "pid",
        **{f"listen {old} ": f"listen 127.0.0.1:{new} " for old, new in ports.items()},
    }.items():
        assert old in text
        text = text.replace(old, str(new))
    (tmp_path / "nginx.conf").write_text(text)
    arguments = ["nginx", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log"), "-g", "daemon off;"]
    proxy = subprocess.Popen(arguments)
    try:
        wait_until((tmp_path / "pid").exists, 30)
        client = Client([f"127.0.0.1:{ports['18443']}"], tls=Tls(root=tls / "tls.crt", server_name=name), timeout=30)
        expected = service.client().predict(["好"])
        assert client.predict(["好"], request_id="over-grpc") == expected
        context = ssl.create_default_context(cafile=str(tls / "tls.crt"))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(f"127.0.0.1:{ports['443']}", context=context, timeout=30)
        connection.request("POST", "/seq_cls/prediction", to_json({"texts": ["好"]}), {"X-Request-ID": "over-http"})
        assert json.loads(connection.getresponse().read())["results"] == expected
    finally:
        proxy.terminate()
        assert proxy.wait(30) == 0
    log = (tmp_path / "access.log").read_text()
    assert "id over-grpc" in log and "id over-http" in log


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
