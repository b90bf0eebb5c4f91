//! A job whose service or whose own process is killed: the one goes on from its last epoch, the other says what may have been.
//! Knows signals, stages and processes.

use std::{fs, process::Command, time::Duration};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    CLASSES, create, gallery, learners, path, quick,
    server::{self, TestServer},
};

#[tokio::test]
async fn a_job_that_is_killed_goes_on_from_its_last_epoch() {
    let kills = server::times(4, 30);
    // What learns gives way to all else, so each epoch that is left after the last kill may take long.
    let epochs = 8 + 2 * kills;
    let mut server = gallery(&CLASSES[..3], 10).await;
    let asked = quick(json!({ "epochs": epochs, "activate": "always" }));
    let job = create(&server, &asked).await;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut epoch, mut learning) = (0, 0);
    for kill in 0..kills {
        // Every other time once both networks learn again, otherwise while it starts or prepares.
        let wait = if kill % 2 == 1 {
            joint(&server, &job).await;
            rng.random_range(0..500)
        } else {
            rng.random_range(100..1500)
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let (_, now) = server.ask(Method::GET, &path(&job)).await;
        let at = now["progress"]["epoch"].as_u64().unwrap();
        if now["progress"]["stage"] == "joint" {
            // What was trained before is not trained again, but for the epoch that was cut off.
            assert!(at >= epoch, "epoch {at} after {epoch}");
            epoch = at.max(epoch);
            learning += usize::from(kill % 2 == 1);
        }
        let folder = server.kill();
        // Whoever learned for it is gone with it.
        for _ in 0..100 {
            if learners(folder.path()).is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(learners(folder.path()).is_empty());
        server = TestServer::start_in(folder, &[]);
        let (_, info) = server.ask(Method::GET, "/info").await;
        assert_eq!(info["index"]["images"], 30);
    }
    let job = server.over(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    println!(
        "{kills} kills, {learning} of them while both networks learned; the job went on {} times, at epoch {epoch} of {epochs} after the last",
        job["resumed"]
    );
    assert!(
        job["resumed"].as_u64().unwrap() > 0 && learning > 0,
        "{job}"
    );
    let activation = server.over(&job["result"]["activation"]).await;
    assert_eq!(activation["state"], "succeeded", "{activation}");
}

/// Waits until both networks learn: what is told of a job may be from before the service was started again.
async fn joint(server: &TestServer, job: &Value) {
    let (_, before) = server.ask(Method::GET, &path(job)).await;
    server::eventually("both networks learn", async || {
        let (_, now) = server.ask(Method::GET, &path(job)).await;
        let told = now["progress"] != before["progress"] && now["progress"]["stage"] == "joint";
        (told || now["state"] == "succeeded").then_some(())
    })
    .await;
}

/// As the kernel does it where memory runs out.
#[tokio::test]
async fn a_process_that_is_ended_fails_its_job_and_nothing_else() {
    let server = gallery(&CLASSES[..2], 10).await;
    let job = create(&server, &quick(json!({ "epochs": 400 }))).await;
    joint(&server, &job).await;
    let learners = learners(server.folder.path());
    let [learner] = &learners[..] else {
        panic!("processes that learn: {learners:?}")
    };
    let score = fs::read_to_string(format!("/proc/{learner}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "1000");
    let killed = Command::new("kill").args(["-KILL", learner]).status();
    assert!(killed.unwrap().success());
    let job = server.over(&job["id"]).await;
    let error = job["error"].as_str().unwrap();
    println!("{error}");
    assert!(
        error.contains("where memory runs out it is the first to go"),
        "{job}"
    );
    assert_eq!(server.ask(Method::GET, "/images/cat-0").await.0, 200);
}
