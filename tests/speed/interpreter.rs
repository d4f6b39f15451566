//! Guests that bring an interpreter along: what a task costs then, and what a second process helps.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    drain,
    measure::medians,
    sandbox::{self, call, request},
    support::{TestHost, TestRedis},
    table::Line,
};

/// How many tasks are in the queue.
const COUNT: usize = 1_000;

/// Nothing when the guest is not built, which `tests/speed/run` does.
pub fn lines(rounds: usize) -> Vec<Line> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/speed/python/app.wasm");
    let Some(file) = file.to_str().filter(|_| file.exists()) else {
        eprintln!("tasks in Python are not measured: tests/speed/run builds the guest");
        return Vec::new();
    };
    let (program, runtime, request) =
        (sandbox::load(file), sandbox::runtime(1), request("app.divide", json!([1, 2])));
    let divide = sandbox::function(&program, "divide");
    let times = runtime.block_on(sandbox::times(200 * rounds, || program.run(divide, call(&request))));

    let start = |processes| {
        let redis = TestRedis::start();
        let host =
            TestHost::start_with(&redis, &[("app", file)], &["-l", "warning", "--processes", processes]);
        drain::warm_up(&redis);
        (redis, host)
    };
    let ((one, _a), (two, _b)) = (start("1"), start("2"));
    let [of_one, of_two] =
        medians(rounds, [&mut || drain::rate(&one, COUNT, || ()), &mut || drain::rate(&two, COUNT, || ())]);
    let p50 = crate::measure::median(times) / 1e3;
    vec![
        Line::at_most("sandbox around a divide in Python, p50", p50, "ms", 1.0),
        Line::at_least(
            "drain of Python divides by two processes",
            [of_two, of_one],
            "/s",
            "one process",
            1.0,
        ),
    ]
}
