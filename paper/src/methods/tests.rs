//! Every objective on a small task: six classes of noisy features, whose codes must become
//! distinct.

use tch::{Device, Kind, Tensor};

use scihcgrl_model::{
    Card, Policy,
    train::{Run, card},
};

use super::Training;

/// Makes six classes of 20 features of 32 entries, far from each other.
fn features() -> (Tensor, Vec<usize>) {
    tch::manual_seed(3);
    let options = (Kind::Float, Device::Cpu);
    let labels: Vec<usize> = (0..120).map(|i| i % 6).collect();
    let which = Tensor::from_slice(&(0..120).map(|i| i % 6).collect::<Vec<i64>>());
    let means = Tensor::randn([6, 32], options) * 2.0;
    (
        means.index_select(0, &which) + Tensor::randn([120, 32], options),
        labels,
    )
}

/// Trains on them and returns the mean distances, as shares of the bits, of codes of one class and
/// of different classes.
fn learned(flags: &str) -> (f64, f64) {
    let (features, labels) = features();
    let mut all = vec![
        "--hidden",
        "32",
        "--lengths",
        "24",
        "--warm-up-epochs",
        "60",
        "--policy-rate",
        "0.002",
    ];
    all.extend(flags.split_whitespace());
    let training = Training::of(&all).unwrap();
    let config = &training.train;
    let objective = training.objective();
    let classes: Vec<String> = (0..6).map(|class| class.to_string()).collect();
    let sets: Vec<Vec<usize>> = (0..6).map(|class| vec![class]).collect();
    let card: Card = card(config, &classes).unwrap();
    let run = Run::new(config, &*objective, &card, &sets, &labels, Device::Cpu).unwrap();
    let variables = tch::nn::VarStore::new(Device::Cpu);
    let mut policy = Policy::new(
        &(variables.root() / "policy"),
        32,
        &config.policy,
        &card.lengths,
        None,
    )
    .unwrap();
    let numbers: Vec<usize> = (0..120).collect();
    run.warm_up(&variables, &mut policy, &features, &numbers, &mut |_| ())
        .unwrap();
    let bits = tch::no_grad(|| policy.logits(&features))
        .unwrap()
        .get(0)
        .sign();
    let far: Tensor = (24.0 - bits.matmul(&bits.tr())) / 48.0;
    let (mut same, mut other) = ((0.0, 0.0), (0.0, 0.0));
    for (i, first) in (0i64..).zip(&labels) {
        for (j, second) in (0..i).zip(&labels) {
            let kind = if first == second {
                &mut same
            } else {
                &mut other
            };
            kind.0 += far.double_value(&[i, j]);
            kind.1 += 1.0;
        }
    }
    (same.0 / same.1, other.0 / other.1)
}

#[test]
fn every_method_separates_classes() {
    for flags in [
        "--method scihcgrl",
        "--method scihcgrl --reinforce-weight 1 --global-weight 0",
        "--method scihcgrl --reinforce-weight 1 --global-weight 0 --credit set --warm-up-epochs 200",
        "--method scihcgrl --cell feedback",
        "--method scihcgrl --passes 3 --history feature",
        "--method scihcgrl --cell independent --smoothing 0.1 --dropout 0.1 --quantization-weight 0.1",
        "--method scihcgrl --optimizer sgd --policy-rate 0.05 --schedule step --step-epochs 20",
        "--method csq --cell independent --quantization-weight 0.1",
        "--method drlih --history feature --reinforce-weight 0.001",
        "--method hashnet --cell independent",
        "--method dsh --cell independent",
        "--method ninh --cell independent",
        "--method cnnh --cell independent",
    ] {
        let (same, other) = learned(flags);
        println!("{same:.3} {other:.3}  {flags}");
        assert!(same < 0.15 && other > 0.25, "{flags}: {same} {other}");
    }
}

#[test]
fn random_hyperplanes_keep_neighbours() {
    let (same, other) = learned("--method hyperplanes --cell linear --warm-up-epochs 0");
    assert!(same < 0.35 && other > same + 0.1, "{same} {other}");
}
