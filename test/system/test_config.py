"""The command line, the configuration file, the cookie, the log."""
import os
import re
import stat
import subprocess

import pytest

from harness import BUILD, COOKIE, ROOT, SANITIZER_OPTIONS, SANITIZER_REPORT


@pytest.fixture
def run(tmp_path):
    """run(arguments...) -> CompletedProcess; its output is text."""
    def run(*arguments, status=None, timeout=20, cwd=None):
        done = subprocess.run(
            [str(BUILD / "cnode/server/brain-server"), *map(str, arguments)], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, cwd=cwd or tmp_path, check=False,
            env={**os.environ, **SANITIZER_OPTIONS, "HOME": str(tmp_path)})
        assert not SANITIZER_REPORT.search(done.stderr), done.stderr
        if status is not None:
            assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done
    return run


def one_sentence(done):
    """What was said on standard error: exactly one line, beginning with the program's name."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("brain-server: "), lines[0]
    return lines[0]


def test_version_and_help(run):
    assert re.fullmatch(r"brain-server \d+\.\d+\.\d+\n", run("--version", status=0).stdout)
    text = run("--help", status=0).stdout
    for option in ("--config", "--set", "--check-config", "--print-config", "--version", "--help"):
        assert option in text


def test_an_unknown_option_and_a_stray_argument(run):
    assert "--frobnicate" in one_sentence(run("--frobnicate", status=2))
    assert "stray" in one_sentence(run("stray", status=2))
    one_sentence(run("--config", status=2))


def test_a_missing_file(run, tmp_path):
    assert str(tmp_path / "none.conf") in one_sentence(run("--config", tmp_path / "none.conf", status=2))


@pytest.mark.parametrize("line, word", [
    ("keyttl = 1000", "keyttl"),
    ('key_ttl = "6o000"', "key_ttl"),
    ("key_ttl = 6o000", "key_ttl"),
    ("key_ttl = -1", "key_ttl"),
    ("key_ttl = 99999999999999999999", "key_ttl"),
    ("server_port = 65536", "server_port"),
    ("epmd_enable = perhaps", "epmd_enable"),
    ('log_mode = "loud"', "log_mode"),
    ('node = "nohost"', "node"),
    ("max_frame_bytes = 0", "max_frame_bytes"),
    ('warehouse_manager = "nowhere"', "warehouse_manager"),
    ("key_ttl", None),
    ("key_ttl = ", None),
    ('secret = "never closed', None),
], ids=lambda value: None if value is None else re.sub(r"\W+", "_", value))
def test_a_bad_line_is_named_with_file_and_line(run, tmp_path, line, word):
    path = tmp_path / "bad.conf"
    path.write_text(f"# a comment\n\nnode = \"brain@localhost\"\n{line}\n")
    for arguments in (["--check-config"], []):
        sentence = one_sentence(run("--config", path, *arguments, status=2))
        assert re.search(rf"{re.escape(str(path))}:[45]: ", sentence), sentence
        if word:
            assert word in sentence
            assert f"{path}:4: " in sentence


@pytest.mark.parametrize("setting", ["nosuch=1", "key_ttl=abc", "key_ttl=", "key_ttl", "=1", "server_port=70000"])
def test_a_bad_set_is_one_sentence(run, setting):
    one_sentence(run("--set", setting, "--check-config", status=2))


def test_options_that_exclude_each_other(run):
    one_sentence(run("--set", "epmd_enable=false", "--check-config", status=2))  # needs server_port
    one_sentence(run("--set", "manager_enable=true", "--check-config", status=2))  # needs a shared warehouse


def test_check_config(run, tmp_path):
    path = tmp_path / "good.conf"
    path.write_text('key_ttl = 1234\nsecret = "s3cr3tc00kie"\n')
    assert "good" in run("--config", path, "--check-config", status=0).stdout


@pytest.mark.parametrize("option", ["secret", "s3_secret_key", "s3_session_token", "ftp_pass"])
def test_print_config_shows_no_secret(run, option):
    shown = run("--set", f"{option}=TOPSECRETVALUE", "--print-config", status=0).stdout
    assert f'# {option} = "..."' in shown
    assert "TOPSECRETVALUE" not in shown


def test_print_config_reads_back_and_hides_the_cookie(run, tmp_path):
    path = tmp_path / "good.conf"
    path.write_text('key_ttl = 1234\nsecret = "s3cr3tc00kie"\nconnect_nodes = {"a@b", "c@d"}\n')
    first = run("--config", path, "--set", "max_monitors=77", "--print-config", status=0).stdout
    assert "s3cr3tc00kie" not in first
    assert re.search(r"^key_ttl = 1234$", first, re.MULTILINE)
    assert re.search(r"^max_monitors = 77$", first, re.MULTILINE)
    again = tmp_path / "again.conf"
    again.write_text(first)
    second = run("--config", again, "--print-config", status=0).stdout

    def settings(text):
        return [line for line in text.splitlines() if line and not line.startswith(("#", "secret ="))]
    assert settings(second) == settings(first)


def test_where_the_file_is_searched(run, tmp_path):
    if os.path.exists("/etc/brain_node.conf") or os.path.exists("/etc/brain/brain_node.conf"):
        pytest.fail("this machine has a configuration file in /etc: it would be read by every test")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/brain_node.conf").write_text("key_ttl = 4321\n")
    assert "key_ttl = 4321" in run("--print-config", status=0).stdout


def test_every_option_is_in_the_manual(run):
    """config/brain_node.conf is the manual: it names every option, and is a valid file itself."""
    header = (ROOT / "include/brain/config.h").read_text()
    names = re.findall(r"X\((?:STRING|BOOL|NUMBER|LIST), (\w+),", header)
    assert len(names) > 30
    manual = (ROOT / "config/brain_node.conf").read_text()
    missing = [name for name in names if not re.search(rf"^\s*#?\s*{name}\s*=", manual, re.MULTILINE)]
    assert missing == []
    run("--config", ROOT / "config/brain_node.conf", "--check-config", status=0)


# ---- the cookie ---------------------------------------------------------------------------------

def started_without_secret(epmd, tmp_path, options=None):
    from harness import Server
    return Server(tmp_path, epmd.port, options, secret=None)


def test_a_cookie_file_is_made_and_never_shown(epmd, tmp_path, beam):
    server = started_without_secret(epmd, tmp_path, {"log_mode": "debug"})
    try:
        server.start()
        path = tmp_path / ".erlang.cookie"
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        cookie = path.read_text().strip()
        assert re.fullmatch(r"[A-Z]{20}", cookie)
        beam.erl("pong = net_adm:ping(?NODE), ok = call({set, a, 1})", cookie=cookie)
        assert "pang" in beam.erl('io:format("~p", [net_adm:ping(?NODE)])', cookie="WRONG")
        server.stop()
        assert cookie not in server.log
        # The next start takes the same one.
        again = started_without_secret(epmd, tmp_path)
        try:
            again.start()
            beam.erl("pong = net_adm:ping(?NODE)", cookie=cookie)
        finally:
            again.finish()
    finally:
        server.finish()


def test_a_cookie_from_a_file(epmd, tmp_path, beam):
    (tmp_path / "cookie").write_text("FROMAFILE\nsecond line\n")
    (tmp_path / "cookie").chmod(0o600)
    server = started_without_secret(epmd, tmp_path, {"secret_file": tmp_path / "cookie"})
    try:
        server.start()
        beam.erl("pong = net_adm:ping(?NODE)", cookie="FROMAFILE")
    finally:
        server.finish()
    assert "FROMAFILE" not in server.log


def test_a_cookie_file_that_is_missing_or_empty(run, tmp_path):
    sentence = one_sentence(run("--set", f"secret_file={tmp_path}/none", "--set", "epmd_start=false", status=2))
    assert f"{tmp_path}/none" in sentence
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "empty").chmod(0o400)
    one_sentence(run("--set", f"secret_file={tmp_path}/empty", "--set", "epmd_start=false", status=2))


def test_a_cookie_file_that_others_can_read(run, tmp_path):
    (tmp_path / "open").write_text("READBYALL\n")
    (tmp_path / "open").chmod(0o644)
    sentence = one_sentence(run("--set", f"secret_file={tmp_path}/open", "--set", "epmd_start=false", status=2))
    assert f"{tmp_path}/open" in sentence and "READBYALL" not in sentence


def test_the_secret_is_not_logged(new_server, beam):
    server = new_server(log_mode="debug")
    beam.erl("pong = net_adm:ping(?NODE), ok = call({set, a, 1}), _ = info()")
    beam.erl("pang = net_adm:ping(?NODE)", cookie="ANOTHERCOOKIE")
    server.stop()
    assert COOKIE not in server.log
    assert "ANOTHERCOOKIE" not in server.log


# ---- the log ------------------------------------------------------------------------------------

def test_a_log_file(new_server, tmp_path, erl):
    logs = tmp_path / "logs"
    logs.mkdir()
    server = new_server(log_dir=logs, log_file_name="brain.log")
    erl("ok = call({set, a, 1})")
    server.stop()
    text = (logs / "brain.log").read_text()
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  .*stopping on SIGTERM", text, re.MULTILINE)


def test_a_data_directory_that_cannot_be_made(new_server, tmp_path):
    (tmp_path / "file").write_text("")
    server = new_server(wait=False, data_dir=tmp_path / "file" / "data")
    server.expected_status = 1
    assert server.wait(20) == 1
    assert "file/data" in server.log
