//! The experiments: the methods of the paper's Table 1 and its parents, and one change of the
//! paper's method at a time. An experiment is the flags of `scihcgrl-paper train` in which it
//! differs.

use std::borrow::Cow;

/// An experiment.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name in the tables.
    pub name: Cow<'static, str>,
    /// Flags of `train`, in addition to [`BASE`].
    pub flags: Cow<'static, str>,
    /// MAP at 24, 32 and 48 bits on CIFAR-10 in the paper's Table 1.
    pub paper: Option<[f64; 3]>,
}

/// Flags of all experiments on fixed features.
pub const BASE: &str =
    "--epochs 0 --warm-up-epochs 30 --hidden 128 --dropout 0.2 --validation-fraction 0";

/// Flags that keep the bits of a recurrent policy uncertain.
const REGULARISED: &str = "--dropout 0.5 --mix 1 --policy-rate 3e-4";

const fn row(name: &'static str, flags: &'static str) -> Row {
    Row {
        name: Cow::Borrowed(name),
        flags: Cow::Borrowed(flags),
        paper: None,
    }
}

const fn published(name: &'static str, flags: &'static str, paper: [f64; 3]) -> Row {
    Row {
        name: Cow::Borrowed(name),
        flags: Cow::Borrowed(flags),
        paper: Some(paper),
    }
}

/// Parses a custom experiment: `NAME=FLAGS`.
pub fn own(text: &str) -> Result<Row, String> {
    let (name, flags) = text
        .split_once('=')
        .ok_or("it must be a name, '=' and flags of `train`")?;
    Ok(Row {
        name: Cow::Owned(name.to_owned()),
        flags: Cow::Owned(flags.to_owned()),
        paper: None,
    })
}

/// Method against method, at every length.
pub static METHODS: [Row; 11] = [
    published("SCIHCGRL", "", [0.857, 0.868, 0.865]),
    row(
        "CSQ",
        "--method csq --cell independent --quantization-weight 0.0001",
    ),
    row(
        "DRLIH",
        "--method drlih --history feature --reinforce-weight 0.001",
    ),
    published(
        "HashNet",
        "--method hashnet --cell independent",
        [0.823, 0.840, 0.843],
    ),
    published(
        "DSH",
        "--method dsh --cell independent",
        [0.712, 0.751, 0.720],
    ),
    published(
        "NINH",
        "--method ninh --cell independent",
        [0.818, 0.832, 0.830],
    ),
    published(
        "CNNH",
        "--method cnnh --cell independent",
        [0.692, 0.667, 0.623],
    ),
    row(
        "random hyperplanes",
        "--method hyperplanes --cell linear --warm-up-epochs 0",
    ),
    row("SCIHCGRL, centres of Algorithm 1", "--centers algorithm1"),
    row("SCIHCGRL, regularised", REGULARISED),
    row(
        "CSQ, regularised alike",
        "--method csq --cell independent --quantization-weight 0.0001 --dropout 0.5 --mix 1 --policy-rate 3e-4",
    ),
];

/// The paper's method with one change, at 48 bits.
pub static ABLATIONS: [Row; 22] = [
    row(
        "as it is: T = 1, history zeros, R_g and 0.1 L_g per bit",
        "",
    ),
    row("centres of Algorithm 1", "--centers algorithm1"),
    row("T = 2", "--passes 2"),
    row("T = 3", "--passes 3"),
    row("history starts from the feature", "--history feature"),
    row(
        "T = 2, history from the feature",
        "--passes 2 --history feature",
    ),
    row("the cell also takes the previous bit", "--cell feedback"),
    row(
        "independent heads, the same objective",
        "--cell independent",
    ),
    row("one linear layer, the same objective", "--cell linear"),
    row("no L_g", "--reinforce-weight 0"),
    row("L_g weighs 1, per bit", "--reinforce-weight 1"),
    row("L_g weighs 1, per set", "--reinforce-weight 1 --credit set"),
    row(
        "L_g alone, per bit",
        "--reinforce-weight 1 --global-weight 0",
    ),
    row(
        "L_g alone, per set",
        "--reinforce-weight 1 --global-weight 0 --credit set",
    ),
    row(
        "L_g alone, per bit, independent heads",
        "--reinforce-weight 1 --global-weight 0 --cell independent",
    ),
    row("targets softened by 0.2", "--smoothing 0.2"),
    row("dropout 0.5", "--dropout 0.5"),
    row("features mixed in all batches", "--mix 1"),
    row(
        "independent heads, features mixed",
        "--cell independent --mix 1",
    ),
    row("lower rate", "--policy-rate 3e-4"),
    row("dropout 0.5, features mixed, lower rate", REGULARISED),
    row("quantisation term, weight 0.1", "--quantization-weight 0.1"),
];
