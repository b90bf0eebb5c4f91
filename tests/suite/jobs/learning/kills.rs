//! Fine-tuning jobs whose service is killed, which resume from their last epoch, or whose own
//! process is killed, which fail with a reason.

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
async fn a_killed_job_resumes_from_its_last_epoch() {
    let kills = server::times(4, 30);
    // Training has the lowest priority, so each epoch after the last kill may take long.
    let epochs = 8 + 2 * kills;
    let mut server = gallery(&CLASSES[..3], 10).await;
    let body = quick(json!({ "epochs": epochs, "activate": "always" }));
    let job = create(&server, &body).await;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut epoch, mut learning) = (0, 0);
    for kill in 0..kills {
        // Alternately while both networks are trained, and while it starts or prepares.
        let wait = if kill % 2 == 1 {
            joint(&server, &job).await;
            rng.random_range(0..500)
        } else {
            rng.random_range(100..1500)
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let (_, now) = server.ask(Method::GET, &path(&job)).await;
        let now_at = now["progress"]["epoch"].as_u64().unwrap();
        if now["progress"]["stage"] == "joint" {
            // No epoch is trained twice, except the one that was cut off.
            assert!(now_at >= epoch, "epoch {now_at} after {epoch}");
            epoch = now_at.max(epoch);
            learning += usize::from(kill % 2 == 1);
        }
        let folder = server.kill();
        // Its training process dies with it.
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
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    println!(
        "{kills} kills, {learning} of them while both networks learned; the job resumed {} times, at epoch {epoch} of {epochs} after the last",
        job["resumed"]
    );
    assert!(
        job["resumed"].as_u64().unwrap() > 0 && learning > 0,
        "{job}"
    );
    let activation = server.wait_for_end(&job["result"]["activation"]).await;
    assert_eq!(activation["state"], "succeeded", "{activation}");
}

/// Waits until both networks are trained. The progress may be from before the restart.
async fn joint(server: &TestServer, job: &Value) {
    let (_, before) = server.ask(Method::GET, &path(job)).await;
    server::eventually("both networks are trained", async || {
        let (_, now) = server.ask(Method::GET, &path(job)).await;
        let changed = now["progress"] != before["progress"] && now["progress"]["stage"] == "joint";
        (changed || now["state"] == "succeeded").then_some(())
    })
    .await;
}

/// As the kernel does if memory runs out.
#[tokio::test]
async fn a_killed_training_process_fails_only_its_job() {
    let server = gallery(&CLASSES[..2], 10).await;
    let job = create(&server, &quick(json!({ "epochs": 400 }))).await;
    joint(&server, &job).await;
    let learners = learners(server.folder.path());
    let [learner] = &learners[..] else {
        panic!("training processes: {learners:?}")
    };
    let score = fs::read_to_string(format!("/proc/{learner}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "1000");
    let killed = Command::new("kill").args(["-KILL", learner]).status();
    assert!(killed.unwrap().success());
    let job = server.wait_for_end(&job["id"]).await;
    let error = job["error"].as_str().unwrap();
    println!("{error}");
    assert!(
        error.contains("the system may have killed it because memory ran out"),
        "{job}"
    );
    assert_eq!(server.ask(Method::GET, "/images/cat-0").await.0, 200);
}
