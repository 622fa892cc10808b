"""Drives containerd's CRI as a kubelet does, for the test beside it.

usage: kubelet.py PODS SECONDS

Creates PODS pods, asks each whether it is alive once in a second for SECONDS, changes their limits meanwhile, has some of
them run out of memory, and deletes them. Prints a line for each check: `ok` or `failed`, its name, a tab and what was seen.
"""
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

sys.path.insert(0, "/usr/local/lib/cri")
import api_pb2 as api  # noqa: E402  (made from api.proto when the image is built)

SOCKET = "unix:///run/containerd/containerd.sock"
IMAGE = "docker.io/library/busybox:local"
# Workers of a kubelet. More would only wait for the two processors of the machine.
WORKERS = 8
MIB = 1 << 20
PROGRAM = 'echo "$HOSTNAME" >/id; trap "exit 7" TERM; while :; do sleep 1000 & wait $!; done'
HOG = "sleep 1; exec tail -c 200m /dev/zero"


class Runtime:
    """The calls of CRI's RuntimeService, by their names."""

    def __init__(self, channel):
        self.channel = channel
        self.methods = api.DESCRIPTOR.services_by_name["RuntimeService"].methods_by_name

    def __call__(self, method, **fields):
        kinds = self.methods[method].input_type, self.methods[method].output_type
        request, reply = (getattr(api, kind.name) for kind in kinds)
        call = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}",
                                        request_serializer=lambda message: message.SerializeToString(),
                                        response_deserializer=reply.FromString)
        return call(request(**fields), timeout=600)

    def cgroup_parent(self):
        containerd = json.loads(self("Status", verbose=True).info["config"])["containerd"]
        options = containerd["runtimes"][containerd["defaultRuntimeName"]]["options"] or {}
        return "kubepods.slice" if options.get("SystemdCgroup") else "/kubepods"


class Pod:
    """A pod with one container, which has its name in a file."""

    def __init__(self, runtime, number, parent):
        self.runtime, self.name = runtime, f"kubelet-{number}"
        security = api.LinuxSandboxSecurityContext(namespace_options=api.NamespaceOption(network=api.POD))
        self.config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=self.name, uid=self.name, namespace="default"),
            hostname=self.name, log_directory=f"/var/log/pods/{self.name}",
            linux=api.LinuxPodSandboxConfig(cgroup_parent=parent, security_context=security))
        self.id = runtime("RunPodSandbox", config=self.config).pod_sandbox_id
        self.container = self.start("main", PROGRAM, 24 * MIB)

    def start(self, name, script, memory):
        resources = api.LinuxContainerResources(memory_limit_in_bytes=memory, cpu_period=100000, cpu_quota=100000)
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name), image=api.ImageSpec(image=IMAGE), command=["sh", "-c", script],
            envs=[api.KeyValue(key="HOSTNAME", value=self.name)], log_path=f"{name}.log",
            linux=api.LinuxContainerConfig(resources=resources))
        container = self.runtime("CreateContainer", pod_sandbox_id=self.id, config=config,
                                 sandbox_config=self.config).container_id
        self.runtime("StartContainer", container_id=container)
        return container

    def exec(self, *command):
        reply = self.runtime("ExecSync", container_id=self.container, cmd=command, timeout=120)
        return reply.exit_code, reply.stdout.decode()

    def probe(self):
        """What is wrong with an answer."""
        answer = self.exec("cat", "/id")
        return None if answer == (0, f"{self.name}\n") else f"{self.name}: {answer}"

    def update(self):
        """Limits in place: what is wrong afterwards."""
        resources = api.LinuxContainerResources(memory_limit_in_bytes=48 * MIB, cpu_period=100000, cpu_quota=50000)
        self.runtime("UpdateContainerResources", container_id=self.container, linux=resources)
        answer = self.exec("cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max")
        return None if answer == (0, f"{48 * MIB}\n50000 100000\n") else f"{self.name}: {answer}"

    def wait(self, container):
        """The status of a container that ends by itself."""
        for _ in range(600):
            status = self.runtime("ContainerStatus", container_id=container).status
            if status.state == api.CONTAINER_EXITED:
                break
            time.sleep(0.2)
        return status

    def run_out_of_memory(self):
        """The exit code of a container that takes more memory than it may have."""
        container = self.start("hog", HOG, 16 * MIB)
        code = self.wait(container).exit_code
        self.runtime("RemoveContainer", container_id=container)
        return None if code == 137 else f"{self.name}: exit code {code}"

    def delete(self):
        """Its container is stopped: what is wrong with the exit code."""
        self.runtime("StopContainer", container_id=self.container, timeout=60)
        code = self.runtime("ContainerStatus", container_id=self.container).status.exit_code
        self.runtime("RemoveContainer", container_id=self.container)
        self.runtime("StopPodSandbox", pod_sandbox_id=self.id)
        self.runtime("RemovePodSandbox", pod_sandbox_id=self.id)
        return None if code == 7 else f"{self.name}: exit code {code}"


class Probes:
    """Asks each pod once in a second, or as often as the machine permits, until `end`."""

    def __init__(self, pods):
        self.lock, self.ended, self.count, self.wrong = threading.Lock(), threading.Event(), 0, []
        shares = [pods[at::WORKERS] for at in range(WORKERS)]
        self.threads = [threading.Thread(target=self.ask, args=(share,)) for share in shares if share]
        for thread in self.threads:
            thread.start()

    def ask(self, pods):
        while not self.ended.is_set():
            due = time.monotonic() + 1
            for pod in pods:
                try:
                    wrong = pod.probe()
                except grpc.RpcError as error:
                    wrong = f"{pod.name}: {error.details()}"
                with self.lock:
                    self.count += 1
                    self.wrong += [wrong] if wrong else []
            self.ended.wait(max(0, due - time.monotonic()))

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def check(name, wrong):
    seen = "; ".join(wrong[:5]).replace("\n", " ")
    print(f"{'failed' if wrong else 'ok'} {name}\t{seen}", flush=True)


def all_of(name, action, items):
    """Does it for each of them, some at a time, and prints the check. What each returned that was made."""

    def guarded(item):
        try:
            return action(item), None
        except grpc.RpcError as error:
            return None, error.details()

    with ThreadPoolExecutor(WORKERS) as pool:
        done = list(pool.map(guarded, items))
    check(name, [error or result for result, error in done if error or isinstance(result, str)])
    return [result for result, error in done if not error]


def main():
    count, seconds = int(sys.argv[1]), int(sys.argv[2])
    with grpc.insecure_channel(SOCKET) as channel:
        runtime = Runtime(channel)
        parent = runtime.cgroup_parent()
        pods = all_of(f"{count} pods are created", lambda number: Pod(runtime, number, parent), range(count))
        probes = Probes(pods)
        time.sleep(seconds / 2)
        all_of("limits of all are changed in place", Pod.update, pods)
        time.sleep(seconds / 2)
        probes.end()
        few = min(probes.count, len(pods))
        check(f"{probes.count} probes", probes.wrong + ([] if probes.count > few else ["not every pod was asked twice"]))
        all_of("what takes too much memory ends with 137", Pod.run_out_of_memory, pods[::5])
        all_of("pods are deleted, with the exit codes of their programs", Pod.delete, pods)
        left = runtime("ListPodSandbox").items, runtime("ListContainers").containers
        check("none is left", [item.id for items in left for item in items])


main()
