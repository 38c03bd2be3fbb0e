"""Ray clusters on this machine: real processes, which can really be killed."""

from contextlib import contextmanager

import psutil

ON_ONE_CORE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@contextmanager
def started_cluster():
    """A cluster whose head has a core; `add_node(**ON_ONE_CORE)` adds another."""
    from ray.cluster_utils import Cluster

    started = Cluster(
        initialize_head=True, head_node_args={**ON_ONE_CORE, "include_dashboard": False}
    )
    try:
        yield started
    finally:
        started.shutdown()


def workers_of(node, title):
    """The processes of a node that do what Ray gives this title."""
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET

    raylet = psutil.Process(node.all_processes[PROCESS_TYPE_RAYLET][0].process.pid)
    found = []
    for process in raylet.children(recursive=True):
        try:
            found += [process] if title in " ".join(process.cmdline()) else []
        except psutil.NoSuchProcess:
            continue
    return found
