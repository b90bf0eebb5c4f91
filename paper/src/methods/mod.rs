//! The rivals of the paper's method, each an objective on the same backbone and policy.
//!
//! - `csq`, `drlih`: the paper's two parents
//! - `hashnet`, `dsh`, `ninh`: learn from pairs and triplets (`pairs`)
//! - `cnnh`: factorises codes first
//! - `hyperplanes`: learns nothing

mod cnnh;
mod csq;
mod drlih;
mod dsh;
mod hashnet;
mod hyperplanes;
mod ninh;
mod pairs;

use clap::{Args, Parser, ValueEnum};
use scihcgrl_model::{
    options::Train,
    train::objective::{Objective, reinforce::Reinforce},
};

/// A method of the literature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// The paper's: REINFORCE and central similarity (Eq 11).
    Scihcgrl,
    /// Central similarity quantization: cross-entropy to the centre and a quantisation term (Yuan
    /// et al., 2020).
    Csq,
    /// A triplet reward on a recurrent policy (Peng et al., 2018).
    Drlih,
    /// Weighted pairwise likelihood with continuation (Cao et al., 2017).
    Hashnet,
    /// A pairwise contrastive loss with a regulariser (Liu et al., 2016).
    Dsh,
    /// A triplet ranking loss (Lai et al., 2015).
    Ninh,
    /// Codes factorised from the similarity of the training images, then learned (Xia et al.,
    /// 2014).
    Cnnh,
    /// Random hyperplanes: nothing is learned.
    Hyperplanes,
}

/// A method, and how it is trained.
#[derive(Args, Clone, Debug)]
pub struct Training {
    /// The method.
    #[arg(long, env = "SCIHCGRL_METHOD", default_value = "scihcgrl")]
    pub method: Method,
    /// Its training, with the options of `scihcgrl train`.
    #[command(flatten)]
    pub train: Train,
}

impl Training {
    /// Parses options as on a command line, without the program's name. If an option is repeated,
    /// the last one counts.
    ///
    /// # Errors
    /// clap's error.
    pub fn of<S: AsRef<str>>(flags: &[S]) -> Result<Self, clap::Error> {
        #[derive(Parser)]
        #[command(args_override_self = true)]
        struct Options {
            #[command(flatten)]
            training: Training,
        }
        let flags = flags.iter().map(AsRef::as_ref);
        let options = Options::try_parse_from(["train"].into_iter().chain(flags))?;
        Ok(options.training)
    }

    /// The method's objective.
    pub fn objective(&self) -> Box<dyn Objective> {
        let config = &self.train;
        match self.method {
            Method::Scihcgrl => Box::new(Reinforce::from(config)),
            Method::Csq => Box::new(csq::Csq::from(config)),
            Method::Drlih => Box::new(drlih::Drlih::from(config)),
            Method::Hashnet => Box::new(hashnet::HashNet),
            Method::Dsh => Box::new(dsh::Dsh),
            Method::Ninh => Box::new(ninh::Ninh),
            Method::Cnnh => Box::new(cnnh::Cnnh),
            Method::Hyperplanes => Box::new(hyperplanes::Hyperplanes),
        }
    }
}

#[cfg(test)]
mod tests;
