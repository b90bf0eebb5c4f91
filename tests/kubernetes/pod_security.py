"""The restricted pod security standard of Kubernetes, as of 1.35, rule by rule.
"""

from documents import containers, get

SYSCTLS = {"kernel.shm_rmid_forced"} | {
    f"net.ipv4.{name}"
    for name in (
        "ip_local_port_range ip_local_reserved_ports ip_unprivileged_port_start ping_group_range tcp_syncookies tcp_keepalive_time "
        "tcp_keepalive_intvl tcp_keepalive_probes tcp_fin_timeout tcp_rmem tcp_wmem"
    ).split()
}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SE_LINUX = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
PROFILES = ("RuntimeDefault", "Localhost")
ANYWHERE, CONTAINERS = True, False
# Fields of a security context: the rule, whether it applies to the pod as well, the field, and the
# allowed values.
FIELDS = [
    ("HostProcess", ANYWHERE, "windowsOptions.hostProcess", (None, False)),
    ("privileged containers", CONTAINERS, "privileged", (None, False)),
    ("AppArmor", ANYWHERE, "appArmorProfile.type", (None, *PROFILES)),
    ("SELinux", ANYWHERE, "seLinuxOptions.type", SE_LINUX),
    ("SELinux", ANYWHERE, "seLinuxOptions.user", (None, "")),
    ("SELinux", ANYWHERE, "seLinuxOptions.role", (None, "")),
    ("/proc mount type", CONTAINERS, "procMount", (None, "Default")),
    ("privilege escalation", CONTAINERS, "allowPrivilegeEscalation", (False,)),
]
# The same for fields that a container inherits from its pod.
INHERITED = [("running as non-root", "runAsNonRoot", (True,)), ("seccomp", "seccompProfile.type", PROFILES)]
ARMOR = "container.apparmor.security.beta.kubernetes.io/"


def restricted(pod):
    """Yields the violations of a pod template. The restricted standard includes the baseline, so
    they are checked together."""
    spec, of_pod = pod["spec"], get(pod, "spec.securityContext", {})
    contexts = [(one["name"], one.get("securityContext") or {}) for one in containers(spec)]
    yield from security_contexts(of_pod, contexts)
    yield from capabilities(contexts)
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"host namespaces: {field}"
    for volume in spec.get("volumes") or []:
        if not VOLUMES & {kind for kind, value in volume.items() if value is not None}:
            yield f"volume types: {volume['name']}"
    for sysctl in of_pod.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctls: {sysctl['name']}"
    for key, value in get(pod, "metadata.annotations", {}).items():
        if key.startswith(ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/"):
            yield f"AppArmor: {key} is {value}"
    for one in containers(spec):
        yield from hosts(one)


def security_contexts(of_pod, contexts):
    everywhere = [("pod", of_pod), *contexts]
    for rule, anywhere, field, allowed in FIELDS:
        for where, context in everywhere if anywhere else contexts:
            if get(context, field) not in allowed:
                yield f"{rule}: {field} of {where} is {get(context, field)}"
    for rule, field, allowed in INHERITED:
        if get(of_pod, field) not in (None, *allowed):
            yield f"{rule}: {field} of pod is {get(of_pod, field)}"
        for where, context in contexts:
            value = get(context, field, get(of_pod, field))
            if value not in allowed:
                yield f"{rule}: {field} of {where} is {value}"
    for where, context in everywhere:
        if context.get("runAsUser") == 0:
            yield f"running as non-root user: {where}"


def capabilities(contexts):
    for where, context in contexts:
        if "ALL" not in get(context, "capabilities.drop", []):
            yield f"capabilities: {where} does not drop ALL"
        if set(get(context, "capabilities.add", [])) - {"NET_BIND_SERVICE"}:
            yield f"capabilities: {where} adds some"


def hosts(one):
    """Yields ports of the host, and hosts in probes and hooks."""
    for port in one.get("ports") or []:
        if port.get("hostPort"):
            yield f"host ports: {one['name']}"
    handlers = ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle.preStop", "lifecycle.postStart")
    for path in handlers:
        for action in ("httpGet", "tcpSocket"):
            if get(one, f"{path}.{action}.host"):
                yield f"host probes and lifecycle hooks: {path} of {one['name']}"
