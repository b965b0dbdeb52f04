"""How many threads are right: the processors a process may run on, and the CPU quota of the container it runs in."""

import os

import pytest

from ernie_inference.processors import computes_bf16, cpu_quota, usable_processors

MANY = 10_000  # processors; more than any machine has


def escaped(path):
    return str(path).replace(" ", "\\040")


@pytest.fixture
def describe(tmp_path):
    """Write what the kernel says of a process: its groups, the mounted hierarchies, and the groups' files."""

    def write(groups, mounts, files):
        proc = tmp_path / "proc"
        proc.mkdir()
        (proc / "cgroup").write_text("".join(f"{line}\n" for line in groups))
        lines = [
            f"3{number} 31 0:3{number} {top} {escaped(tmp_path / point)} rw,relatime shared:1 - {kind}\n"
            for number, (top, point, kind) in enumerate(mounts)
        ]
        (proc / "mountinfo").write_text("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "".join(lines))
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return proc

    return write


V2 = ("/", "fs", "cgroup2 cgroup2 rw")


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"fs/cpu.max": "200000 100000\n"}, 2.0),
        ({"fs/cpu.max": "max 100000\n"}, None),
        ({"fs/cpu.max": "50000 100000\n"}, 0.5),
        ({}, None),
        ({"fs/cpu.max": "rubbish\n"}, None),
    ],
)
def test_version_2_in_a_container(describe, files, quota):
    assert cpu_quota(describe(["0::/"], [V2], files)) == quota


def test_version_2_nested_takes_the_smallest_quota_on_the_way_up(describe):
    files = {"fs/a/cpu.max": "300000 100000", "fs/a/b/cpu.max": "max 100000", "fs/a/b/c/cpu.max": "700000 100000"}
    assert cpu_quota(describe(["0::/a/b/c"], [V2], files)) == 3.0


def test_version_1_by_its_own_controller_only(describe):
    mounts = [("/", "fs/memory", "cgroup cgroup rw,memory"), ("/", "fs/cpu", "cgroup cgroup rw,cpu,cpuacct")]
    mounts += [("/", "fs/cpuset", "cgroup cgroup rw,cpuset")]
    files = {"fs/cpu/job/cpu.cfs_quota_us": "150000\n", "fs/cpu/job/cpu.cfs_period_us": "100000\n"}
    files.update({"fs/cpu/cpu.cfs_quota_us": "-1\n", "fs/cpu/cpu.cfs_period_us": "100000\n"})
    assert cpu_quota(describe(["4:memory:/other", "3:cpu,cpuacct:/job", "0::/"], mounts, files)) == 1.5


def test_version_1_without_a_quota(describe):
    files = {"fs/cpu/cpu.cfs_quota_us": "-1\n", "fs/cpu/cpu.cfs_period_us": "100000\n"}
    assert cpu_quota(describe(["3:cpu:/"], [("/", "fs/cpu", "cgroup cgroup rw,cpu")], files)) is None


@pytest.mark.parametrize("group", ["/docker/1f", "/elsewhere", "/../outside"])
def test_a_container_that_sees_its_own_group_as_the_topmost(describe, group):
    """Docker without a namespace of groups, for version 1: /proc names the group as the machine does."""
    files = {"fs/cpu/cpu.cfs_quota_us": "400000\n", "fs/cpu/cpu.cfs_period_us": "100000\n"}
    files.update({"fs/outside/cpu.cfs_quota_us": "1", "fs/outside/cpu.cfs_period_us": "1"})
    proc = describe([f"3:cpu:{group}"], [("/docker/1f", "fs/cpu", "cgroup cgroup rw,cpu")], files)
    assert cpu_quota(proc) == 4.0


def test_a_group_within_the_containers(describe):
    mount = ("/docker/1f", "fs/with space/cpu", "cgroup cgroup rw,cpu")
    files = {
        f"fs/with space/cpu/{name}": text
        for name, text in (
            ("cpu.cfs_quota_us", "400000"),
            ("cpu.cfs_period_us", "100000"),
            ("inner/cpu.cfs_quota_us", "100000"),
            ("inner/cpu.cfs_period_us", "50000"),
        )
    }
    assert cpu_quota(describe(["3:cpu:/docker/1f/inner"], [mount], files)) == 2.0


@pytest.mark.parametrize(
    ("quota", "expected"), [("100000", 1), ("1000", 1), ("110000", 2), (str(MANY * 100_000), MANY), ("max", MANY)]
)
def test_threads_are_the_quota_rounded_up_within_the_allowed_processors(describe, quota, expected):
    proc = describe(["0::/"], [V2], {"fs/cpu.max": f"{quota} 100000"})
    assert usable_processors(proc) == min(expected, len(os.sched_getaffinity(0)))


def test_without_control_groups_affinity_decides(tmp_path):
    assert cpu_quota(tmp_path) is None and usable_processors(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("model name\t: Xeon\nflags\t\t: avx2 avx512f avx512bw avx512_vnni\n", False),
        ("model name\t: EPYC\nflags\t\t: avx2 avx512_vnni avx512_bf16\n", True),
        ("BogoMIPS\t: 50\nFeatures\t: asimd bf16 i8mm\n", True),
        ("nothing of the kind", None),
    ],
)
def test_bf16_is_what_the_processor_has_not_what_libraries_imitate(tmp_path, content, expected):
    (tmp_path / "cpuinfo").write_text(content)
    assert computes_bf16(tmp_path / "cpuinfo") is expected
