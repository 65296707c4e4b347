import pytest

from service.config import Settings, check_endpoint, load_settings, parse_pairs
from service.errors import ConfigurationError, UsageError


def test_defaults_are_those_of_the_contract():
    screening = Settings().screening
    assert (screening.enabled, screening.intensity_ratio_min, screening.chi2_ratio_max) == (True, 0.3, 1.6)
    assert (screening.chi2_max, screening.background_ratio_max) == (None, 0.6)
    assert (screening.ring_inner_px, screening.ring_outer_px) == (28.6, 31.2)
    assert Settings().stream.connect_timeout_s == 300
    assert not Settings().spool.enabled
    assert Settings().reconstruction.at_frames[:4] == (10, 30, 100, 300)


def test_set_lies_over_the_file(tmp_path):
    path = tmp_path / "beamline.toml"
    path.write_text("[screening]\nchi2_ratio_max = 1.8\nintensity_ratio_min = 0.25\n")
    settings = load_settings(path, ["screening.chi2_ratio_max=2", "screening.chi2_max=800"])
    assert settings.screening.chi2_ratio_max == 2
    assert settings.screening.chi2_max == 800
    assert settings.screening.intensity_ratio_min == 0.25
    assert load_settings(path, ["screening.chi2_max=off"]).screening.chi2_max is None


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["screening.chi2_ratio_mx=2"], "did you mean 'screening.chi2_ratio_max'"),
        (["nothing.here=2"], "does not exist"),
        (["screening.intensity_ratio_min=3"], "less than or equal to 1, got 3"),
        (["screening.chi2_ratio_max=many"], "valid number"),
        (["screening.ring_inner_px=40"], "ring_inner_px must be below ring_outer_px"),
        (["spool.frames_per_file=0"], "greater than or equal to 1, got 0"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(pairs, words):
    with pytest.raises(ConfigurationError, match=words):
        load_settings(None, pairs)


def test_a_wrong_key_in_the_file_is_named_with_the_file(tmp_path):
    path = tmp_path / "beamline.toml"
    path.write_text("[sreening]\nenabled = true\n")
    with pytest.raises(ConfigurationError, match=r"beamline\.toml: setting 'sreening' does not exist"):
        load_settings(path)
    path.write_text("[[[")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_settings(path)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_settings(tmp_path / "absent.toml")


def test_a_pair_must_have_an_equals_sign_and_a_dot():
    for text in ("screening", "screening.enabled", "enabled=true"):
        with pytest.raises(UsageError, match=r"section\.key=value"):
            parse_pairs([text])


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9999", "tcp://dcu.example:31001", "tcp://[::1]:9999", "ipc:///tmp/x"]
)
def test_good_addresses_pass(address):
    assert check_endpoint(address) == address


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9999", "tcp://host", "tcp://host:port", "tcp://host:99999", "http://a:1", ""]
)
def test_malformed_addresses_are_refused_with_exit_code_2(address):
    with pytest.raises(UsageError, match="tcp://HOST:PORT") as caught:
        check_endpoint(address)
    assert caught.value.exit_code == 2
