//! On the real server binaries of this machine; without any, every test says so and passes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, PgConnection};
use tempfile::TempDir;

use super::*;

/// A folder that any account may pass through.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

fn no_binaries() -> bool {
    let none = binaries::find().err();
    if let Some(error) = &none {
        eprintln!("SKIPPED: {error}");
    }
    none.is_some()
}

async fn connect(cluster: &Cluster) -> PgConnection {
    cluster.options(DATABASE).connect().await.unwrap()
}

async fn postmaster_started(cluster: &Cluster) -> String {
    sqlx::query_scalar("select pg_postmaster_start_time()::text").fetch_one(&mut connect(cluster).await).await.unwrap()
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_restart_in_a_path_with_spaces_and_quotes() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("my shop's \"$data\"");
    let cluster = start(&data_dir).await.unwrap();
    sqlx::query("create table t as select 42 as n").execute(&mut connect(&cluster).await).await.unwrap();
    cluster.stop().await.unwrap();
    assert!(!data_dir.join("postgres/postmaster.pid").exists());

    let cluster = attach(&data_dir).await.unwrap();
    assert_eq!(cluster.directory.notice(), None);
    let n: i32 = sqlx::query_scalar("select n from t").fetch_one(&mut connect(&cluster).await).await.unwrap();
    assert_eq!(n, 42);
    let by_url: i32 = sqlx::query_scalar("select n from t")
        .fetch_one(&mut cluster.url(DATABASE).parse::<PgConnectOptions>().unwrap().connect().await.unwrap())
        .await
        .unwrap();
    assert_eq!(by_url, 42);
    cluster.stop().await.unwrap();
}

/// The way to a copy that no snapshot is held for: `pg_dump` holds one, and appends have to go past all that it keeps from being removed.
#[tokio::test]
async fn a_base_backup_is_taken_beside_the_server_and_starts_as_a_cluster_of_its_own() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let cluster = start(&folder.path().join("data")).await.unwrap();
    sqlx::query("create table t as select 42 as n").execute(&mut connect(&cluster).await).await.unwrap();
    let backup = folder.path().join("backup");
    fs::create_dir(&backup).unwrap();
    cluster.directory.account.give(&backup).unwrap();
    let found = binaries::find().unwrap();
    let program = found.for_cluster(&cluster.directory).unwrap().postgres().with_file_name("pg_basebackup");
    let mut command = cluster.directory.account.command(&program);
    command
        .args(["--checkpoint=fast", "--wal-method=stream", "--dbname"])
        .arg(cluster.url("postgres"))
        .arg("--pgdata")
        .arg(backup.join("postgres"));
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    sqlx::query("update t set n = 43").execute(&mut connect(&cluster).await).await.unwrap();

    let copy = start(&backup).await.unwrap();
    let n = async |cluster: &Cluster| sqlx::query_scalar::<_, i32>("select n from t").fetch_one(&mut connect(cluster).await).await.unwrap();
    assert_eq!((n(&cluster).await, n(&copy).await), (43, 42));
    copy.stop().await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_durable_private_and_speaks_utf8() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let cluster = start(&folder.path().join("data")).await.unwrap();
    let mut connection = connect(&cluster).await;
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
    ] {
        let found: String = sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, value, "{setting}");
    }
    let mode = fs::metadata(&cluster.directory.path).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn one_left_running_is_taken_over_and_the_last_user_stops_it() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("data");
    let killed = start(&data_dir).await.unwrap();
    let first = postmaster_started(&killed).await;
    drop(killed);

    let server = start(&data_dir).await.unwrap();
    let import = attach(&data_dir).await.unwrap();
    assert_eq!((postmaster_started(&server).await, postmaster_started(&import).await), (first.clone(), first.clone()));
    server.stop().await.unwrap();
    assert_eq!(postmaster_started(&import).await, first);
    import.stop().await.unwrap();
    assert!(!data_dir.join("postgres/postmaster.pid").exists());
}

#[tokio::test]
async fn two_starts_at_once_share_one_cluster() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("data");
    let (one, two) = tokio::join!(start(&data_dir), start(&data_dir));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(postmaster_started(&one).await, postmaster_started(&two).await);
    let (one, two) = tokio::join!(one.stop(), two.stop());
    one.unwrap();
    two.unwrap();
    assert!(!data_dir.join("postgres/postmaster.pid").exists());
}

#[tokio::test]
async fn a_crashed_postgres_recovers_and_a_half_made_one_is_made_again() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("data");
    fs::create_dir_all(data_dir.join("postgres.new/base")).unwrap();
    fs::write(data_dir.join("postgres.new/PG_VERSION"), "15\n").unwrap();
    let cluster = start(&data_dir).await.unwrap();
    assert!(!data_dir.join("postgres.new").exists());

    sqlx::query("create table t as select 42 as n").execute(&mut connect(&cluster).await).await.unwrap();
    let pid = postmaster_pid(&data_dir);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    drop(cluster);
    let cluster = start(&data_dir).await.unwrap();
    let n: i32 = sqlx::query_scalar("select n from t").fetch_one(&mut connect(&cluster).await).await.unwrap();
    assert_eq!(n, 42);
    cluster.stop().await.unwrap();
}

fn postmaster_pid(data_dir: &Path) -> i32 {
    fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_pid_file_that_names_another_program_is_no_obstacle() {
    if no_binaries() || !Path::new("/proc/self/cwd").exists() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("data");
    start(&data_dir).await.unwrap().stop().await.unwrap();
    let account = account::Account::for_cluster(&data_dir.join("postgres")).unwrap();
    let mut stranger = account.command(Path::new("/bin/sleep")).arg("60").spawn().unwrap();
    let pid = stranger.id().unwrap();
    fs::write(data_dir.join("postgres/postmaster.pid"), format!("{pid}\n/nowhere\n1\n5432\n.\n\n\nready\n")).unwrap();
    start(&data_dir).await.unwrap().stop().await.unwrap();
    stranger.kill().await.unwrap();
}

#[tokio::test]
async fn a_long_path_is_reached_through_a_short_link() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("a-long-name-".repeat(12)).join("data");
    let cluster = start(&data_dir).await.unwrap();
    assert!(cluster.url(DATABASE).len() < 120, "{}", cluster.url(DATABASE));
    postmaster_started(&cluster).await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_the_account_of_postgres_may_not_enter_is_no_obstacle_to_root() {
    if no_binaries() || !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let data_dir = folder.path().join("data");
    let cluster = start(&data_dir).await.unwrap();
    let elsewhere = fs::read_link(data_dir.join("postgres")).unwrap();
    assert_eq!(cluster.directory.path, elsewhere);
    cluster.stop().await.unwrap();
    // Each start says where the shop is: a backup of the data directory would save a link.
    let cluster = start(&data_dir).await.unwrap();
    let notice = cluster.directory.notice().unwrap();
    assert!(notice.contains(elsewhere.to_str().unwrap()) && notice.contains("a backup of the data directory does not save it"), "{notice}");
    cluster.stop().await.unwrap();
    fs::remove_dir_all(elsewhere).unwrap();

    let target: PathBuf = folder.path().join("closed/cluster");
    fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::chown(&target, Some(65534), None).unwrap();
    fs::remove_file(data_dir.join("postgres")).unwrap();
    symlink(&target, data_dir.join("postgres")).unwrap();
    let refused = start(&data_dir).await.err().unwrap();
    assert!(matches!(&refused, Error::Closed { folder: closed, .. } if closed == folder.path()), "{refused}");
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused_by_name() {
    if no_binaries() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("data");
    start(&data_dir).await.unwrap().stop().await.unwrap();
    fs::write(data_dir.join("postgres/PG_VERSION"), "99\n").unwrap();
    let refused = start(&data_dir).await.err().unwrap().to_string();
    assert!(refused.contains("made by Postgres 99") && refused.contains("postgresql-99"), "{refused}");
}

#[test]
fn a_second_server_is_told_who_the_first_is() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let first = lock(&data_dir).unwrap();
    let refused = lock(&data_dir).unwrap_err().to_string();
    assert!(refused.contains(&format!("(pid {})", std::process::id())), "{refused}");
    drop(first);
    lock(&data_dir).unwrap();
}

#[tokio::test]
async fn attaching_makes_nothing() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let refused = attach(&data_dir).await.err().unwrap();
    assert!(matches!(refused, Error::NoCluster { .. }), "{refused}");
    assert!(!data_dir.exists());
}
