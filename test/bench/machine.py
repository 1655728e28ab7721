"""The machine: its cores, what the kernel says about processes, versions of programs."""
import collections
import datetime
import os
import pathlib
import re
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")

# The generator's core and the server's. The same one on a machine that has no other.
Cores = collections.namedtuple("Cores", "generator server")


def siblings(core):
    """The logical processors that share a core with this one."""
    path = pathlib.Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        text = path.read_text().strip()
    except OSError:
        return {core}
    found = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def choose_cores():
    """The first core that this process may use, and the first that is another physical one."""
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    others = [core for core in allowed if core not in siblings(first)] or allowed[1:] or [first]
    return Cores(first, others[0])


def cpu_seconds(pid):
    """User and system time of a process, all threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


def busy_seconds(cores):
    """What ran on these cores since boot, whoever's it was; and what the hypervisor took from them."""
    busy = stolen = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name in {f"cpu{core}" for core in set(cores)}:
            user, nice, system, _, _, interrupts, soft, steal = map(int, numbers[:8])
            busy += user + nice + system + interrupts + soft
            stolen += steal
    return busy / TICKS, stolen / TICKS


def first_line(*command):
    """The first line that a program prints, or '' where there is none."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.splitlines() or [""])[0]


def package_version(name):
    """Debian's version of an installed package."""
    return first_line("dpkg-query", "-W", "-f=${Version}", name).rpartition(":")[2]


def processor():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else os.uname().machine


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe(root, cores, processors):
    """What a reader needs to place the figures."""
    system = os.uname()
    virtual = "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text()
    changed = first_line("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    revision = first_line("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor() + (", virtual machine" if virtual else ""),
        "processors": processors,
        "memory_gb": round(memory_bytes() / 1e9),
        "kernel": f"{system.sysname} {system.release}",
        "cores": list(cores),
        "versions": {
            "brain": revision + (" with changes" if changed else ""),
            "redis": package_version("redis-server"),
            "memcached": package_version("memcached"),
            "erlang": package_version("erlang-base"),
        },
    }
