use std::sync::mpsc::channel;

use tempfile::TempDir;
use tokio::join;

use super::*;

/// A writer of numbers, each in a row.
struct Rig {
    writer: Writer,
    folder: TempDir,
}

impl Rig {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let db = connect(&folder);
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE number (value INTEGER)").unwrap();
        Self { writer: Writer::start(Book { db, held: 0 }).unwrap(), folder }
    }

    /// Occupies the thread until told to go on: what is asked meanwhile shares the next transaction.
    async fn occupied<T>(&self, meanwhile: impl Future<Output = T>) -> T {
        let ((busy, go_on), (go, may_go)) = (channel(), channel());
        let occupy = self.writer.run(move |_| {
            busy.send(()).unwrap();
            may_go.recv().unwrap();
            Ok(())
        });
        let release = async {
            go_on.recv().unwrap();
            // Once everything else was asked: futures that are joined are first polled in order.
            tokio::task::yield_now().await;
            go.send(()).unwrap();
        };
        let (occupied, (), done) = join!(occupy, release, meanwhile);
        occupied.unwrap();
        done
    }
}

fn connect(folder: &TempDir) -> Connection {
    let db = Connection::open(folder.path().join("numbers")).unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    db
}

fn insert(value: i64) -> impl FnOnce(&mut Book) -> std::result::Result<(), Stop> + Send + 'static {
    move |book| {
        book.held += 1;
        Ok(book.db.execute("INSERT INTO number VALUES (?1)", [value]).map(drop)?)
    }
}

fn fail(book: &mut Book) -> std::result::Result<(), Stop> {
    Ok(book.db.execute("INSERT INTO nowhere VALUES (1)", []).map(drop)?)
}

fn look(book: &mut Book) -> std::result::Result<(Vec<i64>, u64), Stop> {
    Ok((numbers(&book.db)?, book.held))
}

fn numbers(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    db.prepare("SELECT value FROM number ORDER BY value")?.query_map([], |row| row.get(0))?.collect()
}

#[tokio::test]
async fn what_runs_ahead_sees_nothing_that_is_not_durable() {
    let rig = Rig::start();
    let meanwhile =
        async { join!(rig.writer.run(insert(1)), rig.writer.run_ahead(insert(2)), rig.writer.run_ahead(look)) };
    let (first, second, seen) = rig.occupied(meanwhile).await;
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(seen.unwrap(), (vec![2], 1));
    assert_eq!(rig.writer.run_ahead(look).await.unwrap(), (vec![1, 2], 2));
}

#[tokio::test]
async fn what_ran_ahead_is_committed_although_nobody_asks_any_more() {
    let rig = Rig::start();
    rig.writer.run_ahead(insert(1)).await.unwrap();
    // Begins once the transaction has ended.
    let other = connect(&rig.folder);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(numbers(&other).unwrap(), [1]);
}

#[tokio::test]
async fn what_ran_ahead_is_committed_when_the_writer_ends() {
    let rig = Rig::start();
    rig.writer.run_ahead(insert(1)).await.unwrap();
    drop(rig.writer);
    assert_eq!(numbers(&connect(&rig.folder)).unwrap(), [1]);
}

#[tokio::test]
async fn one_that_fails_undoes_those_beside_it_and_no_others() {
    let rig = Rig::start();
    let meanwhile = async { join!(rig.writer.run(insert(1)), rig.writer.run(fail), rig.writer.run(insert(2))) };
    let (first, failed, second) = rig.occupied(meanwhile).await;
    assert_eq!(first, Err(Error::Unavailable("a transition beside this one failed".into())));
    assert_eq!(failed, Err(Error::Unavailable("no such table: nowhere".into())));
    assert_eq!(second, Ok(()));
    assert_eq!(rig.writer.run(look).await.unwrap(), (vec![2], 1));
}

#[tokio::test]
async fn a_refusal_that_rests_on_what_is_undone_is_not_told() {
    let rig = Rig::start();
    let refuse = |book: &mut Book| match numbers(&book.db)?.is_empty() {
        true => Ok(()),
        false => Err(Error::Published.into()),
    };
    let meanwhile = async { join!(rig.writer.run(insert(1)), rig.writer.run(refuse), rig.writer.run(fail)) };
    let (first, refused, failed) = rig.occupied(meanwhile).await;
    let undone = Error::Unavailable("a transition beside this one failed".into());
    assert_eq!((first, refused), (Err(undone.clone()), Err(undone)));
    assert_eq!(failed, Err(Error::Unavailable("no such table: nowhere".into())));
    assert_eq!(rig.writer.run(refuse).await, Ok(()));
}

#[tokio::test]
async fn one_that_fails_ahead_is_told_so() {
    let rig = Rig::start();
    assert_eq!(rig.writer.run_ahead(fail).await, Err(Error::Unavailable("no such table: nowhere".into())));
    rig.writer.run_ahead(insert(1)).await.unwrap();
    assert_eq!(rig.writer.run(look).await.unwrap(), (vec![1], 1));
}

#[tokio::test]
async fn nothing_runs_ahead_after_a_transaction_that_was_undone_until_one_is_committed() {
    let rig = Rig::start();
    let other = connect(&rig.folder);
    assert!(rig.writer.run_ahead(fail).await.is_err());
    rig.writer.run_ahead(insert(1)).await.unwrap();
    assert_eq!(numbers(&other).unwrap(), [1]);
}
