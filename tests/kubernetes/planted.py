"""Plants faults in the rendered manifests, to see whether the checks find them."""

from copy import deepcopy

from documents import get, name
from pod_security import ARMOR

GONE = object()
SERVER, CLIENT = "StatefulSet/scihcgrl", "CronJob/scihcgrl-snapshots"
POD, JOB = "spec.template.spec", "spec.jobTemplate.spec.template.spec"
ONE, INIT = f"{POD}.containers.0", f"{JOB}.initContainers.0"
# A part of the expected message, the document, the path in it, and the value to put there.
PLANTED = [
    ("schema 1.35", SERVER, f"{POD}.nonsense", 1),
    ("schema 1.36", SERVER, f"{ONE}.ports.0.containerPort", "http"),
    ("schema 1.37", SERVER, "spec.template", GONE),
    ("schema 1.37", "PodDisruptionBudget/scihcgrl", "apiVersion", "policy/v1beta1"),
    ("shape", "ServiceMonitor/scihcgrl", "spec.endpoints.0.nonsense", 1),
    ("shape", "ServiceMonitor/scihcgrl", "spec.endpoints.0.authorization.credentials.key", GONE),
    ("HostProcess", SERVER, f"{POD}.securityContext.windowsOptions", {"hostProcess": True}),
    ("privileged", SERVER, f"{ONE}.securityContext.privileged", True),
    ("AppArmor", SERVER, f"{ONE}.securityContext.appArmorProfile", {"type": "Unconfined"}),
    ("AppArmor", SERVER, "spec.template.metadata.annotations", {ARMOR + "scihcgrl": "unconfined"}),
    ("SELinux", CLIENT, f"{JOB}.securityContext.seLinuxOptions", {"type": "spc_t"}),
    ("SELinux", CLIENT, f"{INIT}.securityContext.seLinuxOptions", {"user": "root"}),
    ("SELinux", CLIENT, f"{INIT}.securityContext.seLinuxOptions", {"role": "admin"}),
    ("/proc mount", SERVER, f"{ONE}.securityContext.procMount", "Unmasked"),
    ("escalation", SERVER, f"{ONE}.securityContext.allowPrivilegeEscalation", GONE),
    ("escalation", CLIENT, f"{INIT}.securityContext.allowPrivilegeEscalation", True),
    ("non-root:", SERVER, f"{POD}.securityContext.runAsNonRoot", GONE),
    ("non-root:", SERVER, f"{ONE}.securityContext.runAsNonRoot", False),
    ("non-root user", CLIENT, f"{INIT}.securityContext.runAsUser", 0),
    ("seccomp", SERVER, f"{POD}.securityContext.seccompProfile", GONE),
    ("seccomp", CLIENT, f"{INIT}.securityContext.seccompProfile", {"type": "Unconfined"}),
    ("drop ALL", SERVER, f"{ONE}.securityContext.capabilities.drop", ["NET_RAW"]),
    ("drop ALL", CLIENT, f"{INIT}.securityContext", GONE),
    ("adds some", SERVER, f"{ONE}.securityContext.capabilities.add", ["CHOWN"]),
    ("host namespaces", SERVER, f"{POD}.hostNetwork", True),
    ("host namespaces", CLIENT, f"{JOB}.hostPID", True),
    ("host namespaces", CLIENT, f"{JOB}.hostIPC", True),
    ("volume types", SERVER, f"{POD}.volumes.0", {"name": "tmp", "hostPath": {"path": "/tmp"}}),
    ("volume types", SERVER, f"{POD}.volumes.0", {"name": "tmp", "nfs": {"server": "a", "path": "/"}}),
    ("sysctls", SERVER, f"{POD}.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    ("host ports", SERVER, f"{ONE}.ports.0.hostPort", 8080),
    ("host probes", SERVER, f"{ONE}.livenessProbe.httpGet.host", "127.0.0.1"),
    ("host probes", SERVER, f"{ONE}.lifecycle.postStart", {"httpGet": {"host": "a", "port": 80}}),
    ("token", CLIENT, f"{JOB}.automountServiceAccountToken", GONE),
    ("enableServiceLinks", SERVER, f"{POD}.enableServiceLinks", GONE),
    ("write to its root", SERVER, f"{ONE}.securityContext.readOnlyRootFilesystem", False),
    ("no tag", SERVER, f"{ONE}.image", "scihcgrl"),
    ("no tag", "Job/scihcgrl-fine-tune", f"{ONE}.image", "registry:5000/scihcgrl:latest"),
    ("no quantity", SERVER, f"{ONE}.resources.limits.memory", "6GiB"),
    ("no quantity", CLIENT, f"{INIT}.resources.requests.cpu", GONE),
    ("selects other pods", "Service/scihcgrl", "spec.selector", {"app.kubernetes.io/name": "scihcgrl"}),
    ("selects other pods", "PodDisruptionBudget/scihcgrl", "spec.selector.matchLabels", {"app": "scihcgrl"}),
    ("under no NetworkPolicy", "NetworkPolicy/scihcgrl-clients", "spec.podSelector.matchExpressions.0.values", ["snapshots"]),
    ("does not find one Service", "ServiceMonitor/scihcgrl", "spec.selector.matchLabels", {"app.kubernetes.io/name": "scihcgrl"}),
    ("does not find one Service", "ServiceMonitor/scihcgrl", "spec.endpoints.0.port", "metrics"),
    ("startupProbe", SERVER, f"{ONE}.startupProbe", GONE),
    ("livenessProbe", SERVER, f"{ONE}.ports", GONE),
    ("readinessProbe", SERVER, f"{ONE}.readinessProbe.httpGet.port", "https"),
    ("leads to a port", "Service/scihcgrl-headless", "spec.ports.0.targetPort", "https"),
    ("direction open", "NetworkPolicy/scihcgrl", "spec.policyTypes", ["Ingress"]),
    ("other ports", "NetworkPolicy/scihcgrl", "spec.ingress.0.ports.0.port", 80),
    ("other ports", "NetworkPolicy/scihcgrl", "spec.ingress.0.ports", GONE),
    ("SCIHCGRL_ADDR", SERVER, f"{ONE}.ports.0.containerPort", 80),
    ("SCIHCGRL_URL", CLIENT, f"{INIT}.env.0.value", "http://scihcgrl:80"),
    ("two owners", SERVER, "spec.replicas", 2),
    ("by nobody", "ConfigMap", "data.SCIHCGRL_NO_JOBS", "true"),
    ("two owners", SERVER, "spec.updateStrategy.type", "OnDelete"),
    ("one pod's own", SERVER, "spec.volumeClaimTemplates.0.spec.accessModes", ["ReadWriteMany"]),
    ("one pod's own", SERVER, f"{ONE}.volumeMounts.0.mountPath", "/elsewhere"),
    ("one pod's own", SERVER, "spec.volumeClaimTemplates", GONE),
    ("headless", SERVER, "spec.serviceName", "scihcgrl"),
    ("before it has drained", SERVER, f"{POD}.terminationGracePeriodSeconds", 30),
    ("before it has drained", SERVER, f"{ONE}.lifecycle", GONE),
    ("before it has drained", SERVER, f"{ONE}.env.3.value", "25s"),
    ("without a token", "ServiceAccount/scihcgrl", "automountServiceAccountToken", True),
    ("does not have", SERVER, f"{ONE}.volumeMounts.1.name", "other"),
    ("ConfigMap", SERVER, f"{ONE}.envFrom.0.configMapRef.name", "other"),
    ("the same key", "ConfigMap", "kind", "Secret"),
    ("several namespaces", "Job/scihcgrl-fine-tune", "metadata.namespace", "other"),
    ("README.md", CLIENT, f"{INIT}.env.1.valueFrom.secretKeyRef.key", "other"),
]

SCALER, WORKER, SCRAPER = "HorizontalPodAutoscaler/scihcgrl", "Deployment/scihcgrl-worker", "PodMonitor/scihcgrl-worker"
# The same for manifests with several replicas and workers.
PLANTED_OF_SEVERAL = [
    ("two owners", "ConfigMap", "data.SCIHCGRL_NATS", GONE),
    ("without replication", "ConfigMap", "data.SCIHCGRL_NATS", ""),
    ("something else", SCALER, "spec.scaleTargetRef.name", "other"),
    ("no rule makes", SCALER, "spec.metrics.0.pods.metric.name", "scihcgrl_queue"),
    ("schema 1.36", SCALER, "spec.maxReplicas", GONE),
    ("schema 1.37", WORKER, f"{POD}.volumes.0.ephemeral.nonsense", 1),
    ("shape", SCRAPER, "spec.podMetricsEndpoints.0.authorization.credentials.key", GONE),
    ("drop ALL", WORKER, f"{ONE}.securityContext", GONE),
    ("no tag", WORKER, f"{ONE}.image", "scihcgrl"),
    ("selects other pods", "Service/scihcgrl", "spec.selector", {"app.kubernetes.io/name": "scihcgrl"}),
    ("selects other pods", SCRAPER, "spec.selector.matchLabels", {"app.kubernetes.io/name": "scihcgrl"}),
    ("selects other pods", WORKER, "spec.template.metadata.labels", {"app.kubernetes.io/name": "scihcgrl"}),
    ("under no NetworkPolicy", "NetworkPolicy/scihcgrl", "spec.podSelector.matchExpressions.0.values", ["server", "restore"]),
    ("livenessProbe of Deployment", WORKER, f"{ONE}.livenessProbe.httpGet.port", "https"),
    ("asked for metrics", SCRAPER, "spec.podMetricsEndpoints.0.port", "metrics"),
    ("SCIHCGRL_ADDR", WORKER, f"{ONE}.ports.0.containerPort", 80),
    ("before it has drained", WORKER, f"{POD}.terminationGracePeriodSeconds", 20),
    ("as well as workers", SERVER, f"{ONE}.env", []),
    ("takes no jobs", "ConfigMap", "data.SCIHCGRL_NO_JOBS", "true"),
    ("takes no jobs", WORKER, f"{ONE}.args", ["serve"]),
    ("another gallery", WORKER, f"{ONE}.envFrom", []),
    ("another gallery", WORKER, f"{ONE}.env.2.value", "/models/cifar10.safetensors"),
    ("is new for every pod", WORKER, f"{POD}.volumes.0", {"name": "data", "persistentVolumeClaim": {"claimName": "data-scihcgrl-0"}}),
    ("waits for a GPU", WORKER, "spec.strategy", GONE),
]


def plant(documents, where, path, value):
    documents = deepcopy(documents)
    node = next(document for document in documents if where in (name(document), document["kind"]))
    *parents, last = path.split(".")
    node = get(node, ".".join(parents)) if parents else node
    last = int(last) if isinstance(node, list) else last
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return documents


def self_test(documents, several, faults):
    unseen = 0
    for of, planted in ((documents, PLANTED), (several, PLANTED_OF_SEVERAL)):
        before = set(faults(of))
        for word, where, path, value in planted:
            found = set(faults(plant(of, where, path, value))) - before
            if not any(word in fault for fault in found):
                unseen += 1
                print(f"{where}: {path}: no message has '{word}'; found {found or 'none'}")
    print(f"{len(PLANTED) + len(PLANTED_OF_SEVERAL)} planted faults, {unseen} not found")
    return unseen > 0
