import json
import pickle
from pathlib import Path

import msgspec
import pytest

from tts_streamd.config import KEYS, RELOADABLE, ConfigError, Secret, explain, load_config, reload

NOWHERE = Path("/nonexistent/tts-streamd.toml")
API_KEY = "sk_0123456789abcdef"


def load(*, environ=None, **arguments):
    arguments.setdefault("system_file", NOWHERE)
    return load_config(environ=environ or {}, **arguments)


def refused(**arguments):
    with pytest.raises(ConfigError) as caught:
        load(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_with_nothing_said_the_embedded_engine_speaks():
    config = load()
    assert config.endpoint.kind == "embedded"
    assert config.api_key is None
    assert config.streams.schedule == "speed"
    assert set(config.origins.values()) == {"default"}


def test_each_layer_wins_over_the_one_below(tmp_path):
    system = written(tmp_path / "etc.toml", "[streams]\nmax_total = 101\n")
    own = written(tmp_path / "xdg/tts-streamd/config.toml", "[streams]\nmax_total = 102\n")
    given = written(tmp_path / "given.toml", "[streams]\nmax_total = 103\n")
    arguments = {"system_file": system}
    environ = {}
    steps = [(101, str(system))]
    assert origin_of_max_total(environ, arguments) == steps[-1]
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert origin_of_max_total(environ, arguments) == (102, str(own))
    arguments["config_file"] = given
    assert origin_of_max_total(environ, arguments) == (103, str(given))
    environ["TTS_STREAMD_STREAMS_MAX_TOTAL"] = "104"
    assert origin_of_max_total(environ, arguments) == (104, "environment TTS_STREAMD_STREAMS_MAX_TOTAL")
    arguments["argv_overrides"] = {"streams.max_total": "105"}
    assert origin_of_max_total(environ, arguments) == (105, "command line")


def origin_of_max_total(environ, arguments):
    config = load(environ=environ, **arguments)
    return config.streams.max_total, config.origins["streams.max_total"]


def test_a_layer_touches_only_its_own_keys(tmp_path):
    given = written(tmp_path / "c.toml", "[voice]\nspeed = 1.1\n")
    config = load(config_file=given, environ={"TTS_STREAMD_VOICE_STYLE": "0.5"})
    assert (config.voice.speed, config.voice.style, config.voice.stability) == (1.1, 0.5, 0.65)


def test_without_xdg_the_file_under_home_counts(tmp_path):
    written(tmp_path / ".config/tts-streamd/config.toml", "[gateway]\nshare_default = true\n")
    assert load(environ={"HOME": str(tmp_path)}).gateway.share_default


def test_an_empty_variable_is_not_set():
    assert (
        load(environ={"TTS_STREAMD_UPSTREAM_URL": "", "ELEVENLABS_API_KEY": ""}).endpoint.kind == "embedded"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("balanced", "balanced"), ("50,75,100", (50, 75, 100)), ("50, 500", (50, 500)), ("120", (120,))],
)
def test_a_schedule_can_be_given_as_text(text, value):
    assert load(environ={"TTS_STREAMD_STREAMS_SCHEDULE": text}).streams.schedule == value


def test_a_schedule_can_be_given_as_a_list(tmp_path):
    given = written(tmp_path / "c.toml", "[streams]\nschedule = [50, 500]\n")
    assert load(config_file=given).streams.schedule == (50, 500)


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("TTS_STREAMD_UPSTREAM_INACTIVITY_TIMEOUT_S", "19", "a whole number from 20 to 180"),
        ("TTS_STREAMD_UPSTREAM_INACTIVITY_TIMEOUT_S", "181", "a whole number from 20 to 180"),
        ("TTS_STREAMD_STREAMS_SCHEDULE", "50,501", "each a whole number from 50 to 500"),
        ("TTS_STREAMD_STREAMS_SCHEDULE", "hasty", "aggressive"),
        ("TTS_STREAMD_GATEWAY_SHARE_DEFAULT", "maybe", "true or false"),
        ("TTS_STREAMD_VOICE_SPEED", "fast", "a number from 0.7 to 1.2"),
        ("TTS_STREAMD_LOG_LEVEL", "loud", "one of"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(variable, value, wanted):
    message = refused(environ={variable: value})
    assert variable in message
    assert wanted in message


@pytest.mark.parametrize(
    "line", ["max_total = true", 'max_total = "9"', "max_total = 1.5", "max_total = [1]"]
)
def test_a_file_is_taken_strictly(tmp_path, line):
    given = written(tmp_path / "c.toml", f"[streams]\n{line}\n")
    message = refused(config_file=given)
    assert str(given) in message
    assert "streams.max_total" in message


def test_a_syntax_error_names_file_and_line(tmp_path):
    given = written(tmp_path / "c.toml", "[voice]\nspeed = 1.0\nstyle = = 3\n")
    assert refused(config_file=given).startswith(f"{given}:3: not TOML")


def test_an_unknown_key_is_refused_with_a_guess(tmp_path):
    given = written(tmp_path / "c.toml", "[upstream]\nconect_timeout_s = 3\n")
    assert "did you mean upstream.connect_timeout_s?" in refused(config_file=given)


def test_a_key_in_the_wrong_section_is_found(tmp_path):
    given = written(tmp_path / "c.toml", "[gateway]\nstall_ms = 3000\n")
    assert "did you mean streams.stall_ms?" in refused(config_file=given)


def test_an_unknown_section_and_variable_are_refused_with_a_guess(tmp_path):
    given = written(tmp_path / "c.toml", "[stream]\nmax_total = 3\n")
    assert "did you mean streams?" in refused(config_file=given)
    assert "TTS_STREAMD_VOICE_DEFAULT?" in refused(environ={"TTS_STREAMD_VOICE_DEFALT": "x"})


def test_a_section_written_as_a_value_is_refused(tmp_path):
    given = written(tmp_path / "c.toml", 'voice = "Sarah"\n')
    assert "write it as [voice]" in refused(config_file=given)


def test_a_key_written_into_the_configuration_is_refused_without_being_shown(tmp_path):
    given = written(tmp_path / "c.toml", f'[upstream]\napi_key = "{API_KEY}"\n')
    message = refused(config_file=given)
    assert API_KEY not in message
    assert "upstream.api_key_file" in message


def test_a_missing_file_is_an_error_only_when_it_was_asked_for(tmp_path):
    assert "no such file" in refused(config_file=tmp_path / "none.toml")
    load(environ={"XDG_CONFIG_HOME": str(tmp_path / "none")})


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(config_file=tmp_path / "c.toml")


def test_a_directory_as_file_is_refused(tmp_path):
    assert "cannot be read" in refused(config_file=tmp_path)


def test_limits_that_contradict_each_other_are_refused(tmp_path):
    given = written(tmp_path / "c.toml", "[streams]\nmax_total = 10\n")
    message = refused(config_file=given)
    assert str(given) in message
    assert "max_per_session (64) is above streams.max_total (10)" in message


@pytest.mark.parametrize(
    ("url", "ws_base", "http_base"),
    [
        ("wss://tts.example", "wss://tts.example", "https://tts.example"),
        ("https://tts.example:444/v/", "wss://tts.example:444/v", "https://tts.example:444/v"),
        ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "ws://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:80", "ws://[::1]:80", "http://[::1]:80"),
        ("http://localhost:9", "ws://localhost:9", "http://localhost:9"),
    ],
)
def test_the_other_scheme_is_derived(url, ws_base, http_base):
    endpoint = load(argv_overrides={"upstream.url": url}).endpoint
    assert (endpoint.kind, endpoint.ws_base, endpoint.http_base) == ("elevenlabs", ws_base, http_base)


@pytest.mark.parametrize(
    "url",
    [
        "ws://tts.example",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://0.0.0.0",
    ],
)
def test_plain_text_goes_to_this_machine_only(url):
    message = refused(argv_overrides={"upstream.url": url})
    assert "upstream.url" in message
    assert "s://" in message


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "x",
        "https://",
        "https://h:99999",
        "https://me:pw@h",
        "https://h/?a=1",
        "https://h/#f",
        "https://h x",
    ],
)
def test_what_is_no_base_url_is_refused_and_not_repeated(url):
    message = refused(argv_overrides={"upstream.url": url})
    assert "command line: upstream.url" in message
    assert "pw" not in message


def test_a_key_means_elevenlabs():
    config = load(environ={"ELEVENLABS_API_KEY": f" {API_KEY}\n"})
    assert config.endpoint.http_base == "https://api.elevenlabs.io"
    assert config.api_key == Secret(API_KEY)


def test_a_key_does_not_overrule_embedded():
    config = load(environ={"ELEVENLABS_API_KEY": API_KEY}, argv_overrides={"upstream.url": "embedded"})
    assert config.endpoint.kind == "embedded"


def test_elevenlabs_without_a_key_is_refused():
    assert "needs an API key" in refused(argv_overrides={"upstream.url": "https://api.elevenlabs.io"})


def test_systemd_credential_goes_before_file_and_file_before_environment(tmp_path):
    credentials = tmp_path / "credentials"
    written(credentials / "elevenlabs-api-key", "from-systemd\n")
    key_file = written(tmp_path / "key", "from-file\n")
    key_file.chmod(0o600)
    environ = {"ELEVENLABS_API_KEY": "from-env"}
    assert key_and_origin(environ) == ("from-env", "environment ELEVENLABS_API_KEY")
    environ["TTS_STREAMD_UPSTREAM_API_KEY_FILE"] = str(key_file)
    assert key_and_origin(environ) == ("from-file", f"file {key_file}")
    environ["CREDENTIALS_DIRECTORY"] = str(tmp_path / "empty")
    assert key_and_origin(environ)[0] == "from-file"
    environ["CREDENTIALS_DIRECTORY"] = str(credentials)
    assert key_and_origin(environ) == ("from-systemd", "systemd credential elevenlabs-api-key")


def key_and_origin(environ):
    config = load(environ=environ)
    return config.api_key.reveal(), config.origins["api_key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_file_open_to_others_is_refused(tmp_path, mode):
    key_file = written(tmp_path / "key", API_KEY)
    key_file.chmod(mode)
    message = refused(environ={"TTS_STREAMD_UPSTREAM_API_KEY_FILE": str(key_file)})
    assert f"chmod 600 {key_file}" in message
    assert API_KEY not in message


def test_a_key_file_may_be_given_from_home(tmp_path):
    written(tmp_path / "key", API_KEY).chmod(0o600)
    environ = {"HOME": str(tmp_path), "TTS_STREAMD_UPSTREAM_API_KEY_FILE": "~/key"}
    assert load(environ=environ).api_key == Secret(API_KEY)


@pytest.mark.parametrize("path", ["key", "./key", "/nonexistent/key"])
def test_a_key_file_that_is_not_there_is_refused(path):
    assert "upstream.api_key_file" in refused(environ={"TTS_STREAMD_UPSTREAM_API_KEY_FILE": path})


@pytest.mark.parametrize("content", ["", "two words", "a\nb", "with\x01control", "ключ"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(tmp_path, content):
    key_file = written(tmp_path / "key", content)
    key_file.chmod(0o600)
    message = refused(environ={"TTS_STREAMD_UPSTREAM_API_KEY_FILE": str(key_file)})
    assert "does not hold an API key" in message
    assert not content or content not in message


def test_the_key_shows_nowhere():
    config = load(environ={"ELEVENLABS_API_KEY": API_KEY})
    assert API_KEY not in f"{config} {config!r} {config.api_key} {config.api_key!r}"
    assert API_KEY not in explain(config)
    for serialise in (msgspec.json.encode, msgspec.msgpack.encode, json.dumps, pickle.dumps):
        with pytest.raises(TypeError):
            serialise(config.api_key)


def test_the_explanation_is_itself_a_configuration(tmp_path):
    environ = {
        "TTS_STREAMD_VOICE_DEFAULT": 'a "quoted" \\ name',
        "TTS_STREAMD_STREAMS_SCHEDULE": "50,60",
        "TTS_STREAMD_GATEWAY_SHARE_DEFAULT": "true",
        "TTS_STREAMD_RUNTIME_DIR": "/tmp/x",
    }
    config = load(environ=environ)
    text = explain(config)
    assert "environment TTS_STREAMD_GATEWAY_SHARE_DEFAULT" in text
    again = load(config_file=written(tmp_path / "c.toml", text))
    assert {key: again.value(key) for key in KEYS} == {key: config.value(key) for key in KEYS}


def test_a_reload_applies_what_it_can_and_names_the_rest():
    old = load()
    new = load(
        environ={
            "TTS_STREAMD_VOICE_SPEED": "1.1",
            "TTS_STREAMD_LOG_LEVEL": "debug",
            "TTS_STREAMD_GATEWAY_HEARTBEAT_MS": "500",
            "ELEVENLABS_API_KEY": API_KEY,
        }
    )
    outcome = reload(old, new)
    assert outcome.applied == ("voice.speed", "log.level")
    assert outcome.needs_restart == ("gateway.heartbeat_ms", "api_key")
    assert outcome.config.voice.speed == 1.1
    assert outcome.config.gateway == old.gateway
    assert (outcome.config.endpoint, outcome.config.api_key) == (old.endpoint, None)


def test_a_reload_of_nothing_new_changes_nothing():
    outcome = reload(load(), load())
    assert (outcome.applied, outcome.needs_restart) == ((), ())
    assert outcome.config == load()


def test_a_change_that_needs_a_restart_is_named_at_every_reload():
    first = reload(load(), load(environ={"TTS_STREAMD_GATEWAY_SHARE_DEFAULT": "1"}))
    second = reload(first.config, load(environ={"TTS_STREAMD_GATEWAY_SHARE_DEFAULT": "1"}))
    assert first.needs_restart == second.needs_restart == ("gateway.share_default",)


def test_only_known_keys_are_reloadable():
    assert set(KEYS) >= RELOADABLE
