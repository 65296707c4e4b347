import os
import stat

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request

from service.access import Refusal, SteeringToken, _foreign
from service.errors import UserError
from service.listen import PortTakenError, bind_udp, listen_tcp, port_of


def request(authorization=None):
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return Request({"type": "http", "headers": headers})


def test_only_the_user_can_read_the_token(tmp_path):
    old_mask = os.umask(0)
    try:
        token = SteeringToken(tmp_path / "token")
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(token.path.stat().st_mode) == 0o600
    assert len(token.path.read_text().strip()) >= 40
    assert [entry.name for entry in tmp_path.iterdir()] == ["token"]


def test_a_new_start_makes_a_new_token_and_the_old_one_opens_nothing(tmp_path):
    first = SteeringToken(tmp_path / "token")
    old = first.path.read_text().strip()
    second = SteeringToken(tmp_path / "token")
    second.check(request(f"Bearer {second.path.read_text().strip()}"))
    with pytest.raises(Refusal, match="the token must be the one of this run") as refusal:
        second.check(request(f"Bearer {old}"))
    assert refusal.value.status == 403
    first.remove()  # not its own any more
    assert second.path.exists()
    second.remove()
    assert not second.path.exists()


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer  ", "Basic abc", "é"])
def test_no_token_is_told_how_to_send_one(tmp_path, given):
    with pytest.raises(Refusal, match="steering needs the right to steer; send") as refusal:
        SteeringToken(tmp_path / "token").check(request(given))
    assert refusal.value.status == 401


def test_a_link_in_the_token_s_place_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "token").symlink_to(victim)
    SteeringToken(tmp_path / "token")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "token").is_symlink()


def test_a_missing_folder_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"the token file must be in a folder this user can write to, got .*nowhere"):
        SteeringToken(tmp_path / "nowhere" / "token")


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:8123", "LOCALHOST", "[::1]:9"])
def test_local_hosts_pass_also_through_a_tunnel(host):
    assert _foreign(Headers({"host": host})) is None
    assert _foreign(Headers({"host": host, "origin": f"http://{host}"})) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "127.0.0.1:x", "[::1", "a/localhost"],
)
def test_other_hosts_are_refused(host):
    assert "Host must be 127.0.0.1 or localhost" in _foreign(Headers({"host": host}))


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://localhost:9", "http://127.0.0.1:80.evil.example"]
)
def test_other_origins_are_refused(origin):
    assert "Origin must be this page's own address" in _foreign(Headers({"host": "127.0.0.1:80", "origin": origin}))


@pytest.mark.parametrize("listen", [listen_tcp, bind_udp])
def test_a_taken_port_is_a_sentence(listen):
    first = listen(0, what="the live page", option="http.port")
    try:
        with pytest.raises(
            PortTakenError,
            match=f"the port of the live page must be .* got {port_of(first)}, which another program has",
        ):
            listen(port_of(first), what="the live page", option="http.port")
    finally:
        first.close()


def test_an_impossible_port_is_a_sentence():
    with pytest.raises(PortTakenError, match="got 70000, which cannot be bound"):
        listen_tcp(70000, what="the live page", option="http.port")
