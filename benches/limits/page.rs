//! The receive page, as often as can be, beside nginx with a file of its size.

use std::thread;
use std::time::{Duration, Instant};

use crate::http::head;
use crate::process::{Cost, Process};
use crate::share::Share;
use crate::table::{Report, Row};
use crate::{CLIENTS, Options, SMALL};

/// Threads that the clients share: one by itself would be slower than nginx.
const THREADS: usize = 2;
/// Headers that nginx sends on its own.
const OWN: [&str; 4] = ["content-type", "content-length", "date", "connection"];

/// The page of a share that waits, so that each request is counted as a look at it.
pub(crate) fn page(options: &Options, report: &mut Report) {
    let server = Process::ours(None);
    let uploaded = Share::new(SMALL).upload_at_once(&mut server.client());
    let path = format!("/s/{}", uploaded.id);
    let answer = server.client().ask("GET", &path, "", b"").is(200);
    let headers = answer.head().lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.filter(|(name, _)| !OWN.iter().any(|own| own.eq_ignore_ascii_case(name)));
    let lines: String = headers.map(|(name, value)| format!("add_header {name} \"{value}\"; ")).collect();
    let nginx = Process::nginx_with(&[("page.html", &answer.body)], &lines);

    let mut limit = Row::new(&format!("nginx, a file of {} bytes", answer.body.len()));
    let mut own = Row::at_least("the receive page", 0.8);
    for _ in 0..options.runs {
        for (row, process, path) in [(&mut limit, &nginx, "/page.html"), (&mut own, &server, &*path)] {
            let (count, cost) = requests(process, path, options.time);
            row.add(count / cost.seconds, cost, count / 1e3);
        }
    }
    report.table(&format!("{CLIENTS} clients, requests/s"), "CPU ms/request", &[&limit, &own]);
}

/// Requests answered in `time`. A thread asks for all of its clients and then waits for all: no switch between threads for
/// each request, which would cost more than the request.
fn requests(process: &Process, path: &str, time: Duration) -> (f64, Cost) {
    let request = head("GET", path, "", 0);
    let ask = || {
        let mut clients: Vec<_> = (0..CLIENTS / THREADS).map(|_| process.client()).collect();
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < time {
            clients.iter_mut().for_each(|client| client.order(request.as_bytes()));
            count += clients.iter_mut().map(|client| client.receive()).filter(|&length| length > 0).count();
        }
        count
    };
    let (count, cost) = process.measure(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client")).sum::<usize>()
        })
    });
    (count as f64, cost)
}
