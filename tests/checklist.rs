//! The checklist of the wire contract (celery-protocol.md, 13): which tests show each of its lines.
//!
//! The contract is what a worker must read and write so that nobody on the other side of the broker can tell it from a Python
//! worker. Its checklist is a list of 52 things to try. Here they are in short, each with the tests in which a real client, or
//! where there is none to ask the bytes in Redis, shows it. Where the two versions of the client differ, the tests are of both.

use std::{collections::HashSet, env, process::Command};

/// The number of a line, what it asks for, and the tests that show it. `faults:` stands before a row of the fault suite.
const LINES: &[(usize, &str, &[&str])] = &[
    (
        1,
        "the lists of a queue are emptied by priority",
        &["celery_compat::the_most_urgent_of_a_clients_tasks_run_first"],
    ),
    (2, "a body of base64 and JSON is read", &[CONVERSATIONS]),
    (
        3,
        "a result is announced as it is stored, so that no client has to ask again",
        &["results::a_result_is_announced_as_it_is_stored_and_ends_after_a_day", CONVERSATIONS],
    ),
    (
        4,
        "a result ends after a day",
        &["results::a_result_is_announced_as_it_is_stored_and_ends_after_a_day"],
    ),
    (5, "a division by zero is caught as Python's own, with state and traceback", &[CONVERSATIONS]),
    (6, "an exception is of the client's class, or of one made up for it", &[EXCEPTIONS]),
    (7, "no name that a guest gives an exception harms the client", &[EXCEPTIONS]),
    (8, "the time of the end is aware and UTC, and children are a list", &[CONVERSATIONS]),
    (9, "a stored success is never replaced", &["results::a_stored_success_is_never_replaced"]),
    (
        10,
        "the record of what is held has the message while its task runs, and not afterwards",
        &["results::a_message_is_held_while_its_task_runs_and_gone_afterwards"],
    ),
    (
        11,
        "a thousand deaths between taking and running lose no message",
        &[
            "faults:takers-die",
            "faults:step:take:answered",
            "faults:step:take:kept",
            "faults:step:task:taken",
            "faults:step:task:decoded",
            "faults:step:run:before",
            "delivery::killing_the_worker_at_any_moment_loses_no_task",
        ],
    ),
    (
        12,
        "what a dead worker held is run by a Python worker after the timeout",
        &["fleet::what_a_dead_worker_held_is_given_to_a_python_worker"],
    ),
    (
        13,
        "an eta beyond two visibility timeouts runs once among several workers",
        &[
            "fleet::three_visibility_timeouts_give_no_living_workers_task_away_beside_celery_5_4",
            "fleet::three_visibility_timeouts_give_no_living_workers_task_away_beside_celery_5_7",
        ],
    ),
    (14, "a countdown is kept, and shown as scheduled meanwhile", &[CONVERSATIONS, QUESTIONS, COMMAND_LINE]),
    (
        15,
        "an eta is the same instant with an offset, with Z and with none",
        &["celery_compat::an_eta_is_the_same_instant_however_it_is_written"],
    ),
    (16, "an expired task is revoked, and never said to be received", &[CONVERSATIONS, TASK_EVENTS]),
    (
        17,
        "an unknown task fails at once and its message is gone, unless the worker is to wait for a plugin",
        &[
            CONVERSATIONS,
            "hostile::a_message_that_cannot_be_run_but_has_an_id_fails_and_the_next_task_runs",
            "parking::a_task_whose_plugin_never_comes_fails_at_its_deadline_and_is_kept",
        ],
    ),
    (18, "pickle is refused, and the caller told", &[STRANGE_VALUES]),
    (
        19,
        "garbage is logged and dropped, and the worker lives",
        &["hostile::a_message_without_a_readable_id_becomes_a_dead_letter_and_the_next_task_runs"],
    ),
    (20, "what strict JSON has no word for comes back or fails cleanly", &[STRANGE_VALUES]),
    (21, "a compressed message is read", &[CONVERSATIONS]),
    (
        22,
        "a retry keeps its id and says RETRY; the last one fails with its own exception",
        &[
            RETRIES,
            "retries::a_task_whose_retries_are_used_up_fails_with_its_own_exception",
            "retries::a_task_that_asks_for_it_is_run_again_until_it_succeeds",
        ],
    ),
    (
        23,
        "an ignored task stays pending; a rejected one comes again, marked and last",
        &[RETRIES, "retries::a_task_may_be_ignored_rejected_or_sent_to_the_end_of_its_queue"],
    ),
    (
        24,
        "a client reads the state that a task sets",
        &["celery_compat::a_client_reads_the_progress_of_a_running_task"],
    ),
    (
        25,
        "that a task runs is stored with process and node, if that is wanted",
        &["events::a_worker_that_was_started_with_task_events_keeps_them_and_says_that_its_tasks_run"],
    ),
    (
        26,
        "the two time limits are the two exceptions, and none is taken for the other",
        &[
            "celery_compat::time_limits_are_the_exceptions_that_python_knows",
            "limits::a_task_is_stopped_at_its_limit_whether_it_computes_or_waits",
        ],
    ),
    (27, "a link gets the value first and is a child", &[CANVASES]),
    (28, "an errback that nobody has is sent with the failed id, its parent and its root", &[CANVASES]),
    (29, "a chain passes its value on, and names parent and root in each message", &[CANVASES]),
    (30, "all that was to come after a failure in a chain has failed", &[CANVASES]),
    (31, "a group gives its values, also when it was saved and restored", &[CANVASES]),
    (32, "a chord of fifty sends its body once and leaves no counters", &[CANVASES]),
    (33, "a chord with a failure fails its body and tells the errback once", &[CANVASES]),
    (34, "canvases within canvases", &[CANVASES, "canvases::random_canvases_come_out_as_they_do_in_python"]),
    (35, "a member of a group that is no chord is not counted", &[CANVASES]),
    (
        36,
        "what replaces a task has its id and its place in chain, group and chord",
        &["sending::a_replaced_task_is_done_when_what_takes_its_place_is"],
    ),
    (37, "what is immutable is called with its own arguments", &[CANVASES]),
    (
        38,
        "an ignored result is not stored, and counts in a chord",
        &[CANVASES, "celery_compat::a_task_whose_result_is_ignored_stores_none"],
    ),
    (39, "map, starmap and chunks", &[CANVASES]),
    (
        40,
        "a worker tells that it comes, lives and goes, and Flower shows it",
        &["events::a_worker_tells_that_it_comes_that_it_is_there_and_that_it_goes", FLOWER],
    ),
    (41, "events of tasks come when they are asked for, in order", &[TASK_EVENTS]),
    (
        42,
        "a ping and the status are answered while every slot is busy",
        &[COMMAND_LINE, "control_under_load::every_request_is_answered_at_once_while_every_slot_is_busy"],
    ),
    (43, "every question is answered in Celery's shape", &[QUESTIONS, COMMAND_LINE]),
    (44, "only those that a request is for answer it", &["control::a_request_reaches_those_it_is_for"]),
    (
        45,
        "a request that is unknown or wrong is answered with an error",
        &[COMMANDS, "control::requests_that_nobody_should_send_do_no_harm"],
    ),
    (
        46,
        "tasks are revoked before they start, while they run and while they wait",
        &[
            "control::a_revoked_task_does_not_run_on_any_worker_now_or_later",
            "control::a_running_task_is_terminated",
        ],
    ),
    (
        47,
        "every command is obeyed, and answered in Celery's words",
        &[
            COMMANDS,
            "control::time_limits_that_are_set_hold_for_the_tasks_that_come",
            "control::queues_are_taken_from_as_soon_as_somebody_says_so_and_no_longer_than_that",
            "control::the_pool_grows_and_shrinks",
            "control::the_pool_scales_with_what_there_is_to_do",
            "control::a_shutdown_by_remote_is_warm_and_for_those_it_names",
        ],
    ),
    (48, "Flower shows the worker, and no route of its API fails", &[FLOWER]),
    (
        49,
        "a Python worker starts beside ours, shares its queue, and each restores what the other lost",
        &[
            "control::a_worker_that_starts_learns_what_a_python_worker_knows_and_tells_what_it_knows",
            "fleet::what_a_dead_worker_held_is_given_to_a_python_worker",
            "fleet::what_a_dead_python_worker_held_is_given_to_a_host",
            "fleet::killing_workers_of_both_kinds_at_any_moment_loses_no_task",
        ],
    ),
    (
        50,
        "a shutdown leaves what was held at the head of the queue, and nothing ends twice",
        &[
            "shutdown::a_python_worker_goes_on_in_the_same_order_and_nothing_ends_twice",
            "shutdown::a_warm_shutdown_ends_what_runs_and_leaves_the_rest_in_the_queue",
            "shutdown::a_cold_shutdown_puts_back_what_runs_at_once",
        ],
    ),
    (
        51,
        "all of this with a client of the newer version",
        &[
            CONVERSATIONS,
            EXCEPTIONS,
            STRANGE_VALUES,
            RETRIES,
            CANVASES,
            TASK_EVENTS,
            QUESTIONS,
            COMMANDS,
            COMMAND_LINE,
            FLOWER,
        ],
    ),
    (
        52,
        "after ten seconds without a broker a worker is there again, and no result is lost",
        &["events::a_worker_says_again_that_it_is_there_and_listens_after_the_broker_was_away"],
    ),
];

// These show many lines each.
const CONVERSATIONS: &str = "celery_compat::every_client_reads_from_host_what_it_would_read_from_python";
const EXCEPTIONS: &str =
    "celery_compat::an_exception_is_of_the_clients_own_class_or_a_plain_one_whatever_the_guest_calls_it";
const STRANGE_VALUES: &str =
    "celery_compat::what_strict_json_has_no_word_for_comes_back_or_fails_cleanly_and_pickle_is_refused";
const RETRIES: &str =
    "celery_compat::a_client_hears_that_its_task_is_retried_and_nothing_of_one_that_is_ignored";
const CANVASES: &str = "workflows::canvases_of_every_client_come_to_their_known_ends";
const TASK_EVENTS: &str = "events::task_events_come_once_somebody_asks_for_them_whole_and_in_order";
const QUESTIONS: &str = "control::every_question_is_answered_as_a_python_worker_answers_it";
const COMMANDS: &str = "control::every_command_is_answered_in_the_words_of_a_python_worker";
const COMMAND_LINE: &str = "celery_cli::host_answers_celerys_command_line";
const FLOWER: &str = "flower::host_shows_and_obeys_in_flower";

#[test]
fn every_line_of_the_checklist_is_shown_by_tests_that_exist() {
    let numbers: Vec<_> = LINES.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=52).collect::<Vec<_>>());
    let known = tests();
    for (number, line, shown_by) in LINES {
        assert!(!shown_by.is_empty(), "nothing shows line {number}: {line}");
        for test in *shown_by {
            let exists = match test.strip_prefix("faults:") {
                Some(fault) => is_fault(fault),
                None => known.contains(*test),
            };
            assert!(exists, "there is no test {test} for line {number}: {line}");
        }
    }
}

/// The names of all tests in this binary.
fn tests() -> HashSet<String> {
    let this = env::current_exe().expect("it runs");
    let listed = Command::new(this).arg("--list").output().expect("it runs once more");
    let listed = String::from_utf8(listed.stdout).expect("names are text");
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Whether the fault suite has a row of this name: one for each step at which `host` can be killed, and those that it names.
/// It is a binary of its own, which need not be there when this one is built alone.
fn is_fault(name: &str) -> bool {
    match name.strip_prefix("step:") {
        Some(step) => host::fail_point::STEPS.contains(&step),
        None => include_str!("faults/main.rs").contains(&format!("(\"{name}\", ")),
    }
}
