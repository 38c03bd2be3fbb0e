"""Ray clusters on this machine: real processes, which can really be killed."""

from contextlib import contextmanager

import psutil

ON_ONE_CORE = {"num_cpus": 1, "object_store_memory": 100 << 20}


ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # On a busy machine Ray's processes start late, and it would give them up.
    "RAY_raylet_start_wait_time_s": "180",
}


@contextmanager
def started_cluster():
    """A cluster whose head has a core; `add_node(**ON_ONE_CORE)` adds another."""
    from ray.cluster_utils import Cluster

    # What a cluster of this machine does not need.
    bare = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False}
    started = Cluster(initialize_head=True, head_node_args={**ON_ONE_CORE, **bare})
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
