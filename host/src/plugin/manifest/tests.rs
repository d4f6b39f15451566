//! What manifests say and how they are refused.

use std::time::Duration;

use super::{options::KEYS, *};
use crate::task::{Limits, RetryPolicy};

pub(super) fn parsed(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse("app.toml", text, ["divide", "send_mail"].into_iter())
}

fn options(text: &str) -> [TaskOptions; 2] {
    parsed(text).unwrap().options.try_into().unwrap()
}

fn seconds(n: f64) -> Duration {
    Duration::from_secs_f64(n)
}

#[test]
fn nothing_said_is_the_default() {
    for text in ["", "# nothing\n", "[tasks]\n", "[tasks.divide]\n"] {
        assert_eq!(options(text), [TaskOptions::default(), TaskOptions::default()], "{text}");
    }
    let TaskOptions {
        limits,
        memory_limit,
        cpu_limit,
        queue,
        pin_version,
        acks_late,
        reject_on_worker_lost,
        ignore_result,
        rate_limit,
        track_started,
        retry,
    } = TaskOptions::default();
    assert_eq!((limits.hard, limits.soft, rate_limit), (None, None, None));
    assert_eq!((memory_limit, cpu_limit, queue, pin_version), (None, None, None, false));
    assert_eq!((acks_late, reject_on_worker_lost), (true, true));
    assert_eq!((ignore_result, track_started), (false, false));
    assert_eq!((retry.max_retries, retry.retry_backoff, retry.retry_jitter), (Some(3), None, true));
    assert_eq!((retry.default_retry_delay, retry.retry_backoff_max), (seconds(180.0), seconds(600.0)));
}

#[test]
fn every_key_is_read() {
    let text = r#"
        time_limit = 30
        soft_time_limit = 2.5
        memory_limit = "64MiB"
        cpu_limit = 1.5
        queue = "images"
        pin_version = true
        acks_late = false
        reject_on_worker_lost = false
        ignore_result = true
        rate_limit = "10/m"
        track_started = true
        autoretry_for = ["OSError", "shop.CardDeclined"]
        max_retries = 7
        default_retry_delay = 0
        retry_backoff = 4
        retry_backoff_max = 60.5
        retry_jitter = false
    "#;
    let expected = TaskOptions {
        limits: Limits { hard: Some(seconds(30.0)), soft: Some(seconds(2.5)) },
        memory_limit: Some(64 << 20),
        cpu_limit: Some(seconds(1.5)),
        queue: Some("images".parse().unwrap()),
        pin_version: true,
        acks_late: false,
        reject_on_worker_lost: false,
        ignore_result: true,
        rate_limit: Some("10/m".parse().unwrap()),
        track_started: true,
        retry: RetryPolicy {
            autoretry_for: vec!["OSError".into(), "shop.CardDeclined".into()],
            max_retries: Some(7),
            default_retry_delay: Duration::ZERO,
            retry_backoff: Some(seconds(4.0)),
            retry_backoff_max: seconds(60.5),
            retry_jitter: false,
        },
    };
    assert_eq!(options(text), [expected.clone(), expected]);
    for key in KEYS {
        assert!(text.contains(&format!("        {key} = ")), "{key} is not in this test");
    }
}

#[test]
fn some_options_have_several_ways_to_be_said() {
    let backoff = |text: &str| options(&format!("retry_backoff = {text}"))[0].retry.retry_backoff;
    assert_eq!(backoff("true"), Some(seconds(1.0)));
    assert_eq!((backoff("false"), backoff("0")), (None, None));
    assert_eq!(backoff("0.25"), Some(seconds(0.25)));
    let rate = |text: &str| {
        let limit = options(&format!("rate_limit = {text}"))[0].rate_limit.clone();
        limit.map(|limit| (limit.to_string(), limit.interval()))
    };
    assert_eq!(rate("5"), Some(("5".to_owned(), seconds(0.2))));
    assert_eq!(rate("0.5"), Some(("0.5".to_owned(), seconds(2.0))));
    assert_eq!(rate("\"100/h\""), Some(("100/h".to_owned(), seconds(36.0))));
    assert_eq!((rate("0"), rate("\"0/s\"")), (None, None));
    let most = |text: &str| options(&format!("max_retries = {text}"))[0].retry.max_retries;
    assert_eq!((most("\"unlimited\""), most("0"), most("4294967295")), (None, Some(0), Some(u32::MAX)));
}

#[test]
fn what_is_said_of_one_task_comes_before_what_is_said_of_all() {
    let text = r#"
        time_limit = 30
        max_retries = 5
        [tasks.send_mail]
        max_retries = 9
        acks_late = false
        [tasks.multiply]
        max_retries = 1
    "#;
    let [divide, send_mail] = options(text);
    assert_eq!((divide.retry.max_retries, divide.acks_late), (Some(5), true));
    assert_eq!((send_mail.retry.max_retries, send_mail.acks_late), (Some(9), false));
    assert_eq!(divide.limits, send_mail.limits);
    let skipped = parsed(text).unwrap().unknown;
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].name, "multiply");
    assert_eq!(skipped[0].reason, "app.toml has options for it, but the plugin offers no task of this name");
}

#[test]
fn what_is_not_understood_is_refused_by_file_and_key() {
    let all = KEYS.join(", ");
    let unknown = |key: &str| {
        format!("\"app.toml\" has the key \"{key}\", which means nothing here: the keys are {all}")
    };
    let seconds = "a number of seconds, from 0 to a year";
    let limit = "a number of seconds, more than 0 and at most a year";
    let wrong = |key: &str, found: &str, expected: &str| {
        format!("\"app.toml\" has {key} = {found}, but it must be {expected}")
    };
    let rate = r#"a number of runs per second, or a text such as "10/m" or "100/h""#;
    let list = r#"a list of names of exceptions: ["ConnectionError"]"#;
    let size = "a size such as \"64MiB\", or a number of bytes, from 1 to 1TiB";
    let count = r#"a whole number from 0 to 4294967295, or "unlimited""#;
    for (text, expected) in [
        ("tme_limit = 3", unknown("tme_limit")),
        ("[tasks.divide]\ntasks = 3", unknown("tasks.divide.tasks")),
        ("[tasks.nobody]\ntme_limit = 3", unknown("tasks.nobody.tme_limit")),
        ("[task.divide]\ntime_limit = 3", unknown("task")),
        ("memory_limit = 0", wrong("memory_limit", "0", size)),
        ("memory_limit = \"64MB\"", wrong("memory_limit", "\"64MB\"", size)),
        ("memory_limit = \"2048GiB\"", wrong("memory_limit", "\"2048GiB\"", size)),
        ("cpu_limit = 0", wrong("cpu_limit", "0", limit)),
        (
            "queue = \"\"",
            wrong("queue", "\"\"", "the name of a queue: 1 to 255 bytes of text, without a `/`"),
        ),
        ("pin_version = 1", wrong("pin_version", "1", "true or false")),
        ("tasks = 3", wrong("tasks", "3", "tables, one for each task: [tasks.divide]")),
        ("[tasks]\ndivide = 3", wrong("tasks.divide", "3", "a table of options")),
        ("time_limit = \"30\"", wrong("time_limit", "\"30\"", limit)),
        ("time_limit = 0", wrong("time_limit", "0", limit)),
        ("time_limit = -1", wrong("time_limit", "-1", limit)),
        ("time_limit = nan", wrong("time_limit", "nan", limit)),
        ("time_limit = inf", wrong("time_limit", "inf", limit)),
        ("time_limit = 31536001", wrong("time_limit", "31536001", limit)),
        ("[tasks.divide]\nsoft_time_limit = []", wrong("tasks.divide.soft_time_limit", "[]", limit)),
        ("default_retry_delay = -0.5", wrong("default_retry_delay", "-0.5", seconds)),
        ("retry_backoff_max = true", wrong("retry_backoff_max", "true", seconds)),
        ("acks_late = 1", wrong("acks_late", "1", "true or false")),
        ("rate_limit = -1", wrong("rate_limit", "-1", rate)),
        ("rate_limit = \"10/d\"", wrong("rate_limit", "\"10/d\"", rate)),
        ("rate_limit = true", wrong("rate_limit", "true", rate)),
        ("max_retries = -1", wrong("max_retries", "-1", count)),
        ("max_retries = 4294967296", wrong("max_retries", "4294967296", count)),
        ("max_retries = 1.5", wrong("max_retries", "1.5", count)),
        ("max_retries = \"many\"", wrong("max_retries", "\"many\"", count)),
        (
            "retry_backoff = \"yes\"",
            wrong("retry_backoff", "\"yes\"", "true, false or a number of seconds, from 0 to a year"),
        ),
        ("autoretry_for = \"OSError\"", wrong("autoretry_for", "\"OSError\"", list)),
        ("autoretry_for = [1]", wrong("autoretry_for", "[1]", list)),
        ("autoretry_for = [\"OS Error\"]", wrong("autoretry_for", "[\"OS Error\"]", list)),
        ("autoretry_for = [\"\"]", wrong("autoretry_for", "[\"\"]", list)),
    ] {
        assert_eq!(parsed(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn what_is_not_toml_is_refused_by_its_line() {
    for (text, line) in [("a = 1\nb =\n", 2), ("time_limit = 3\ntime_limit = 4\n", 2), ("\n\n[tasks", 3)] {
        let error = parsed(text).unwrap_err().to_string();
        let start = format!("\"app.toml\" is not TOML: line {line}: ");
        assert!(error.starts_with(&start) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_hostile_manifest_is_refused_in_one_short_line() {
    let deep = format!("autoretry_for = {}", "[".repeat(30_000));
    let long = format!("autoretry_for = [{}]", "\"x\\u001b\",".repeat(5_000));
    let odd = format!("\"{}\\n\\u001b\" = 1", "é".repeat(500));
    for text in [deep, long, odd] {
        let error = parsed(&text).unwrap_err().to_string();
        assert!(error.len() < 600 && !error.chars().any(char::is_control), "{error}");
    }
}

#[test]
fn a_manifest_that_is_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("app.wasm");
    let read = || {
        let text = beside(&wasm).unwrap();
        Manifest::of("app.wasm", &[], text.as_deref(), &[]).map_err(|error| error.to_string())
    };
    std::fs::write(path_of(&wasm), " ".repeat(64 << 10)).unwrap();
    assert!(read().is_ok());
    std::fs::write(path_of(&wasm), " ".repeat((64 << 10) + 1)).unwrap();
    assert_eq!(read().unwrap_err(), "\"app.toml\" has more than 65536 bytes");
    std::fs::remove_file(path_of(&wasm)).unwrap();
    std::fs::create_dir(path_of(&wasm)).unwrap();
    assert!(read().is_ok(), "a folder is no manifest");
}

#[test]
fn a_plugin_carries_its_manifest_and_the_one_beside_it_stands_for_all_of_that() {
    let carrying = |sections: &str| wat::parse_str(format!("(module {sections})")).unwrap();
    let inner = carrying(r#"(@custom "host:manifest" "pin_version = true\n[grants]\nhttp = [\"a.org\"]")"#);
    let manifest = |wasm: &[u8], beside| Manifest::of("app.wasm", wasm, beside, &[]);
    let within = manifest(&inner, None).unwrap();
    assert_eq!(within.grants.http, ["a.org".parse().unwrap()]);
    assert_eq!(manifest(&inner, Some("time_limit = 3")).unwrap().grants, Grants::default());
    for (sections, expected) in [
        (
            r#"(@custom "host:manifest" "\ntme_limit = 3")"#,
            "\"app.wasm, host:manifest\" has the key \"tme_limit\", which means nothing here",
        ),
        (
            r#"(@custom "host:manifest" "\n\n\ff")"#,
            "\"app.wasm, host:manifest\" is not TOML: line 3: it is not UTF-8",
        ),
        (
            r#"(@custom "host:manifest" "") (@custom "host:manifest" "")"#,
            "\"app.wasm\" carries 2 manifests, in sections named \"host:manifest\"; only one can hold",
        ),
    ] {
        let error = manifest(&carrying(sections), None).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn grants_are_read() {
    let text = r#"
        [grants]
        http = ["api.example.org", "https://*.example.org:8443"]
        keyvalue = "1MiB"
        secrets = ["API_KEY", "MAIL_*"]
        submit = ["mail.*"]
        [grants.config]
        endpoint = "https://api.example.org"
    "#;
    let expected = Grants {
        http: vec!["api.example.org".parse().unwrap(), "https://*.example.org:8443".parse().unwrap()],
        keyvalue: 1 << 20,
        config: [("endpoint".to_owned(), "https://api.example.org".to_owned())].into(),
        secrets: vec!["API_KEY".parse().unwrap(), "MAIL_*".parse().unwrap()],
        submit: vec!["mail.*".parse().unwrap()],
    };
    assert_eq!(parsed(text).unwrap().grants, expected);
    for key in grants::KEYS {
        let is_there =
            text.contains(&format!("        {key} = ")) || text.contains(&format!("[grants.{key}]"));
        assert!(is_there, "{key} is not in this test");
    }
    assert_eq!(parsed("[grants]\nsubmit = []").unwrap().grants.submit, []);
}

#[test]
fn grants_that_are_not_understood_are_refused() {
    for (text, expected) in [
        ("grants = 1", "has grants = 1, but it must be a table: [grants]"),
        (
            "[grants]\nhtp = []",
            "has the key \"grants.htp\", which means nothing here: the keys are http, keyvalue",
        ),
        ("[grants]\nhttp = \"a.org\"", "has grants.http = \"a.org\", but it must be a list of hosts"),
        ("[grants]\nhttp = [\"ftp://a.org\"]", "but it must be a list of hosts"),
        ("[grants]\nkeyvalue = -1", "has grants.keyvalue = -1, but it must be a size"),
        ("[grants]\nconfig = 1", "has grants.config = 1, but it must be a table of texts"),
        ("[grants.config]\na = 1", "has grants.config = { a = 1 }, but it must be a table of texts"),
        ("[grants]\nsecrets = [\"a*b\"]", "but it must be a list of names"),
        ("[grants]\nsubmit = [\"other/app.f\"]", "but it must be a list of names of tasks"),
        ("[grants]\nscratch = \"1MiB\"", "a folder for a run is not offered"),
        (
            "[grants]\nsecrets = [\"A*\"]\n[grants.config]\nAB = \"x\"",
            "has grants.config = \"AB\", but it must be a name that is not among the secrets as well",
        ),
    ] {
        let error = parsed(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
