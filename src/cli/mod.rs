//! The subcommands: what each takes, and how its work is shown on a terminal or in a log.
//! Knows how to call the layers below; decides nothing for them.

mod bench;
mod client;
mod duplicates;
mod evaluate;
mod folder;
mod health;
mod index;
mod jobs;
mod quality;
mod search;
mod snapshots;
mod store;
mod train;

use std::{fs, future::Future, path::PathBuf};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::{
    config::{self, Compute, DEFAULT_MODEL, LogFormat, Serve, Train, defaults_from},
    image, model, serve,
    system::tls,
    telemetry,
};

/// Image retrieval by learned hash codes.
#[derive(Parser)]
#[command(version, args_override_self = true)]
pub enum Cli {
    /// Answer searches over HTTP.
    Serve(Box<Serve>),
    /// Do the jobs of a gallery that several services share: a replica that takes no requests, with `serve`'s options and --nats. It answers
    /// /livez, /readyz and /metrics.
    Worker(Box<Serve>),
    /// Send every image under a folder to a running service, to be stored. The folder directly below it that an image lies in, at whatever
    /// depth, becomes its label. What is no picture is named and left out.
    Index {
        /// The folder.
        dir: PathBuf,
        /// Leave out images whose id, made of the path below the folder, is stored already; otherwise they replace what is stored.
        #[arg(long)]
        skip_stored: bool,
        /// How many are sent at once, 1 to 256.
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
        at_once: u16,
        /// Which service.
        #[command(flatten)]
        service: client::Service,
    },
    /// Ask a running service for the images near each of some files.
    Search {
        /// What for.
        #[command(flatten)]
        search: search::Search,
        /// Which service.
        #[command(flatten)]
        service: client::Service,
    },
    /// Print the groups of copies in a running service's gallery, after a job has found them where that is needed.
    Duplicates {
        /// What is asked for.
        #[command(flatten)]
        duplicates: duplicates::Duplicates,
        /// Of which service.
        #[command(flatten)]
        service: client::Service,
    },
    /// Train a model on labelled images. A training that was stopped goes on when the same is asked for again.
    Train {
        /// A folder or archive with a folder of images per class, or a CSV or JSONL list.
        #[arg(
            long,
            required_unless_present = "unlabelled",
            conflicts_with = "unlabelled"
        )]
        data: Option<PathBuf>,
        /// Instead: folders of pictures that nobody labelled. The model learns to tell them apart, and a picture from its copies not.
        #[arg(long, num_args = 1..)]
        unlabelled: Vec<PathBuf>,
        /// With --unlabelled, instead of training: a trained model that gets a new sketch. Its codes stay as they are.
        #[arg(long, requires = "unlabelled", conflicts_with = "classifier")]
        sketch: Option<PathBuf>,
        /// With --unlabelled: the classifier published with the backbone's weights (.pth).
        #[arg(long)]
        classifier: Option<PathBuf>,
        /// The checkpoint to write.
        #[arg(long)]
        out: PathBuf,
        /// Discard a training of this checkpoint that was stopped.
        #[arg(long)]
        restart: bool,
        /// A TOML file with values of these options; flags and environment variables stand above it.
        #[arg(long)]
        config: Option<PathBuf>,
        /// How.
        #[command(flatten)]
        options: Box<Train>,
    },
    /// Measure a model's retrieval quality on a folder that has a folder of images per class.
    Evaluate(Box<evaluate::Evaluate>),
    /// Read a data folder from end to end, without serving it, compare it with its originals, and name what is damaged.
    Fsck {
        /// Which.
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Make the store in a data folder anew, without the space that it holds and does not use. It must not be served meanwhile.
    Compact {
        /// Which.
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Measure the index, with codes of one's own or with images made for it, and how fast pictures are made to train on.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Have a running service learn from its gallery, or change its model, and follow what it does.
    Jobs {
        /// What is asked.
        #[command(subcommand)]
        jobs: jobs::Jobs,
        /// Of which service.
        #[command(flatten)]
        service: client::Service,
    },
    /// Whether a service takes requests: ends with 0 if it does.
    Health {
        /// Which service.
        #[command(flatten)]
        service: client::Service,
    },
    /// Have a running service make snapshots, tell which there are, and remove old ones.
    Snapshots {
        /// What is asked.
        #[command(subcommand)]
        snapshots: snapshots::Snapshots,
        /// Of which service.
        #[command(flatten)]
        service: client::Service,
    },
    /// Write all images of a data folder that is not served, with their labels and codes, into a tar archive that programs of any version read.
    Export {
        /// The archive, a new file; - is standard output.
        to: PathBuf,
        /// Which.
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Fill an empty data folder from a snapshot or an export, and read it from end to end.
    Import {
        /// The snapshot's folder or URL, such as s3://bucket/snapshots/ID, or an export; - is an export on standard input.
        from: String,
        /// The data folder, and where originals are to be kept.
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Print what this program can compute on here.
    Devices,
    /// Do the fine-tuning job whose task and images are in a folder; a service starts it by itself.
    FineTune {
        /// The folder; what comes of it is left there.
        folder: PathBuf,
        /// End when standard input does.
        #[arg(long)]
        attended: bool,
        /// Where it computes.
        #[command(flatten)]
        compute: Compute,
    },
    /// Decode pictures from standard input, for a service that limits what that takes.
    #[command(name = image::DECODER, hide = true)]
    DecodePictures,
    /// Convert published PyTorch weights of a backbone (.pth) to safetensors, to train from.
    ImportWeights {
        /// The state dict, as `torch.save` wrote it.
        file: PathBuf,
        /// The safetensors file to write.
        #[arg(long)]
        out: PathBuf,
        /// Write matrices and kernels in half precision, as models have them.
        #[arg(long)]
        half: bool,
    },
    /// Print the hash codes of image files, one JSON line each.
    Encode {
        /// The checkpoint.
        #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
        model: PathBuf,
        /// Where it computes.
        #[command(flatten)]
        compute: Compute,
        /// The images.
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
}

impl Cli {
    /// Reads the command line, and the file of options that it names.
    ///
    /// # Errors
    /// Where that file is not right. A wrong command line ends the program with clap's words.
    pub fn read() -> anyhow::Result<Self> {
        let named = Cli::command().ignore_errors(true).get_matches();
        let (subcommand, file) = match named.subcommand() {
            Some((name, matches)) => {
                let file = matches.try_get_one::<PathBuf>("config").ok().flatten();
                (name, file.cloned())
            }
            None => ("", None),
        };
        let command = match file {
            Some(path) => defaults_from(Cli::command(), subcommand, &path)?,
            None => Cli::command(),
        };
        Ok(Cli::from_arg_matches(&command.get_matches())?)
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever stopped it, in words.
    pub fn run(self) -> anyhow::Result<()> {
        if let Cli::DecodePictures = self {
            return Ok(image::decode_pictures()?);
        }
        tls::install();
        let _traces = telemetry::start(match &self {
            Cli::Serve(config) | Cli::Worker(config) => config.log_format,
            _ => LogFormat::default(),
        });
        image::keep_panics();
        image::decode_by(std::env::current_exe()?);
        match self {
            Cli::DecodePictures => {}
            Cli::Serve(config) => serve::run(&config)?,
            Cli::Worker(config) => serve::work(&config)?,
            Cli::Index {
                dir,
                skip_stored,
                at_once,
                service,
            } => {
                let client = client::Client::new(&service);
                wait(index::run(client, &dir, usize::from(at_once), skip_stored))?;
            }
            Cli::Search { search, service } => {
                wait(search::run(client::Client::new(&service), &search))?;
            }
            Cli::Duplicates {
                duplicates,
                service,
            } => {
                wait(duplicates::run(client::Client::new(&service), &duplicates))?;
            }
            Cli::Train {
                data,
                unlabelled,
                sketch,
                classifier,
                out,
                restart,
                options,
                ..
            } => {
                let data = match (data, sketch, classifier) {
                    (Some(data), ..) => train::Data::Labelled(data),
                    (None, Some(model), _) => train::Data::Sketch(unlabelled, model),
                    (None, None, Some(classifier)) => {
                        train::Data::Unlabelled(unlabelled, classifier)
                    }
                    (None, None, None) => anyhow::bail!(
                        "--unlabelled needs --classifier to train a model, or --sketch to give one a sketch"
                    ),
                };
                train::run(data, &out, restart, &options)?;
            }
            Cli::Evaluate(evaluate) => evaluate::run(&evaluate)?,
            Cli::Fsck { gallery } => wait(store::fsck(&gallery))?,
            Cli::Compact { gallery } => store::compact(&gallery)?,
            Cli::Bench(bench) => bench::run(&bench)?,
            Cli::FineTune {
                folder,
                attended,
                compute,
            } => crate::jobs::tune(&folder, &compute, attended)?,
            Cli::Jobs { jobs, service } => {
                wait(jobs::run(client::Client::new(&service), &jobs))?;
            }
            Cli::Health { service } => wait(health::run(client::Client::new(&service)))?,
            Cli::Snapshots { snapshots, service } => {
                wait(snapshots::run(client::Client::new(&service), &snapshots))?;
            }
            Cli::Export { to, gallery } => wait(store::export(&gallery, &to))?,
            Cli::Import { from, gallery } => wait(store::import(&from, &gallery))?,
            Cli::Devices => println!("{}", model::devices()),
            Cli::ImportWeights { file, out, half } => {
                let count = model::checkpoint::import(&file, &out, half)?;
                println!("wrote {count} tensors to {}", out.display());
            }
            Cli::Encode {
                model,
                compute,
                images,
            } => {
                let hasher = model::Hasher::start(&model, &compute)?;
                let mut failed = folder::Failed::default();
                for path in images {
                    let input = hasher.card().input();
                    let decoded = match fs::read(&path).map(|bytes| image::decode(&bytes, input)) {
                        Ok(Ok(decoded)) => decoded,
                        Ok(Err(error)) => {
                            failed.note(&path, error);
                            continue;
                        }
                        Err(error) => {
                            failed.note(&path, error);
                            continue;
                        }
                    };
                    for model::Output { codes, sketch } in hasher.encode(&[&decoded.pixels])? {
                        let mut line = serde_json::json!({ "image": path, "codes": codes });
                        if let Some(sketch) = sketch {
                            line["sketch"] = String::from(sketch).into();
                        }
                        println!("{line}");
                    }
                }
                failed.none()?;
            }
        }
        Ok(())
    }
}

/// Runs what speaks to a service, on this thread.
fn wait(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("cannot start the runtime")?.block_on(work)
}
