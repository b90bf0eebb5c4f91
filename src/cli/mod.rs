//! The subcommands: their options, and how their results are shown on a terminal or in a log.
//!
//! - `client`: requests to a running service
//! - `index`, `search`, `duplicates`, `jobs`, `snapshots`, `health`: commands of a running service
//! - `by_filter`: deleting and changing the images of a running service that pass a filter
//! - `fields`: the fields of a running service
//! - `store`: fsck, compact, export and import of a data folder
//! - `train`, `evaluate`: commands of models
//! - `quality`: the tables and plots of `evaluate`
//! - `folder`: the files that a user names
//! - `bench`: measurements

mod bench;
mod by_filter;
mod client;
mod duplicates;
mod evaluate;
mod fields;
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
    image,
    index::Filter,
    model, serve,
    system::tls,
    telemetry,
};

/// Image retrieval by learned hash codes.
#[derive(Parser)]
#[command(version, args_override_self = true)]
pub enum Cli {
    /// Serve a gallery over HTTP.
    Serve(Box<Serve>),
    /// Run the jobs of a shared gallery, as a replica that answers only /livez, /readyz and
    /// /metrics. Takes the options of `serve` and needs --nats.
    Worker(Box<Serve>),
    /// Store every image under a folder in a running service. The first folder below it on the way
    /// to an image becomes the image's label. Files that are not pictures are named and skipped.
    Index {
        /// The folder.
        dir: PathBuf,
        /// Skip images whose id is stored already instead of replacing them. An id is made of the
        /// path below the folder.
        #[arg(long)]
        skip_stored: bool,
        /// Number of images to send at once, 1 to 256.
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
        at_once: u16,
        #[command(flatten)]
        service: client::Service,
    },
    /// Search a running service for images like the given files.
    Search {
        #[command(flatten)]
        search: search::Search,
        #[command(flatten)]
        service: client::Service,
    },
    /// Delete all images of a running service that pass a filter.
    Delete {
        #[command(flatten)]
        selection: by_filter::Selection,
        #[command(flatten)]
        service: client::Service,
    },
    /// Change the labels or payloads of all images of a running service that pass a filter.
    Change {
        #[command(flatten)]
        selection: by_filter::Selection,
        #[command(flatten)]
        changes: by_filter::Changes,
        #[command(flatten)]
        service: client::Service,
    },
    /// List, declare and delete the fields of a running service: the members of payloads that
    /// filters can test.
    Fields {
        #[command(subcommand)]
        fields: fields::Fields,
        #[command(flatten)]
        service: client::Service,
    },
    /// Print the groups of copies in a running service's gallery. Runs a job to find them if
    /// necessary.
    Duplicates {
        #[command(flatten)]
        duplicates: duplicates::Duplicates,
        #[command(flatten)]
        service: client::Service,
    },
    /// Train a model on labelled images. The same command resumes a training that was stopped.
    Train {
        /// A folder or archive with one folder of images per class, or a CSV or JSONL list.
        #[arg(
            long,
            required_unless_present = "unlabelled",
            conflicts_with = "unlabelled"
        )]
        data: Option<PathBuf>,
        /// Instead of --data: folders of unlabelled pictures. The model learns to distinguish
        /// pictures, but not a picture from its copies.
        #[arg(long, num_args = 1..)]
        unlabelled: Vec<PathBuf>,
        /// With --unlabelled: give this trained model a new sketch instead of training one. Its
        /// codes do not change.
        #[arg(long, requires = "unlabelled", conflicts_with = "classifier")]
        sketch: Option<PathBuf>,
        /// With --unlabelled: the classifier published with the backbone's weights (.pth).
        #[arg(long)]
        classifier: Option<PathBuf>,
        /// The checkpoint to write.
        #[arg(long)]
        out: PathBuf,
        /// Start over instead of resuming.
        #[arg(long)]
        restart: bool,
        /// A TOML file with values of these options. Flags and environment variables override it.
        #[arg(long)]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Train>,
    },
    /// Measure a model's retrieval quality on labelled images, or how well it finds copies.
    Evaluate(Box<evaluate::Evaluate>),
    /// Verify a whole data folder and its originals, and print any damage. It must not be in use.
    Fsck {
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Rewrite the store in a data folder without its unused space. It must not be in use.
    Compact {
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Measure the speed of the index, on given codes or generated images, and of reading training
    /// pictures.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Start, follow and manage jobs of a running service: fine-tuning, adapting, changing the
    /// model.
    Jobs {
        #[command(subcommand)]
        jobs: jobs::Jobs,
        #[command(flatten)]
        service: client::Service,
    },
    /// Exit with status 0 if a service is ready for requests.
    Health {
        #[command(flatten)]
        service: client::Service,
    },
    /// Create, list and remove snapshots of a running service.
    Snapshots {
        #[command(subcommand)]
        snapshots: snapshots::Snapshots,
        #[command(flatten)]
        service: client::Service,
    },
    /// Write the images of a data folder, with labels and codes, to a tar archive that any version
    /// can read. The folder must not be in use.
    Export {
        /// The archive, a new file; - is standard output.
        to: PathBuf,
        /// Export only the images that pass this filter, such as `price < 5 AND labels = "shoe"`.
        #[arg(long)]
        filter: Option<Filter>,
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Fill an empty data folder from a snapshot or an export, and verify it.
    Import {
        /// A snapshot's folder or URL, such as s3://bucket/snapshots/ID, or an export; - is an
        /// export on standard input.
        from: String,
        #[command(flatten)]
        gallery: config::GalleryPaths,
    },
    /// Print the devices that models can run on here.
    Devices,
    /// Run the fine-tuning job in a folder. A service starts this command by itself.
    FineTune {
        /// The job's folder with its task and images, which also receives the result.
        folder: PathBuf,
        /// Exit when standard input closes.
        #[arg(long)]
        attended: bool,
        #[command(flatten)]
        compute: Compute,
    },
    /// Decode pictures from standard input, in a process whose resources a service limits.
    #[command(name = image::DECODER_ARGUMENT, hide = true)]
    DecodePictures,
    /// Convert published PyTorch weights of a backbone (.pth) to safetensors, as a start for
    /// training.
    ImportWeights {
        /// A state dict that `torch.save` wrote.
        file: PathBuf,
        /// The safetensors file to write.
        #[arg(long)]
        out: PathBuf,
        /// Write matrices and kernels in half precision, as in models.
        #[arg(long)]
        half: bool,
    },
    /// Print the hash codes of image files, one line of JSON per file.
    Encode {
        /// The checkpoint.
        #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
        model: PathBuf,
        #[command(flatten)]
        compute: Compute,
        /// The images.
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
}

impl Cli {
    /// Parses the command line, and the file that --config names. Exits with clap's message if the
    /// command line is wrong.
    ///
    /// # Errors
    /// If the file cannot be read or has a wrong value.
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

    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<()> {
        if let Cli::DecodePictures = self {
            return Ok(image::run_decoder()?);
        }
        tls::install();
        let _traces = telemetry::start(match &self {
            Cli::Serve(config) | Cli::Worker(config) => config.log_format,
            _ => LogFormat::default(),
        });
        image::ignore_decoder_panics();
        image::set_decoder_program(std::env::current_exe()?);
        match self {
            Cli::DecodePictures => {}
            Cli::Serve(config) => serve::run(&config)?,
            Cli::Worker(config) => serve::run_worker(&config)?,
            Cli::Index {
                dir,
                skip_stored,
                at_once,
                service,
            } => {
                let client = client::Client::new(&service);
                block_on(index::run(client, &dir, usize::from(at_once), skip_stored))?;
            }
            Cli::Search { search, service } => {
                block_on(search::run(client::Client::new(&service), &search))?;
            }
            Cli::Delete { selection, service } => {
                block_on(by_filter::delete(client::Client::new(&service), &selection))?;
            }
            Cli::Change {
                selection,
                changes,
                service,
            } => {
                let client = client::Client::new(&service);
                block_on(by_filter::change(client, &selection, &changes))?;
            }
            Cli::Fields { fields, service } => {
                block_on(fields::run(client::Client::new(&service), &fields))?;
            }
            Cli::Duplicates {
                duplicates,
                service,
            } => {
                block_on(duplicates::run(client::Client::new(&service), &duplicates))?;
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
            Cli::Fsck { gallery } => block_on(store::fsck(&gallery))?,
            Cli::Compact { gallery } => store::compact(&gallery)?,
            Cli::Bench(bench) => bench::run(&bench)?,
            Cli::FineTune {
                folder,
                attended,
                compute,
            } => crate::jobs::run_learning_process(&folder, &compute, attended)?,
            Cli::Jobs { jobs, service } => {
                block_on(jobs::run(client::Client::new(&service), &jobs))?;
            }
            Cli::Health { service } => block_on(health::run(client::Client::new(&service)))?,
            Cli::Snapshots { snapshots, service } => {
                block_on(snapshots::run(client::Client::new(&service), &snapshots))?;
            }
            Cli::Export {
                to,
                filter,
                gallery,
            } => block_on(store::export(&gallery, filter, &to))?,
            Cli::Import { from, gallery } => block_on(store::import(&from, &gallery))?,
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
                let hasher = model::Hasher::load_with(&model, &compute)?;
                let mut left_out = folder::LeftOut::default();
                for path in images {
                    let input = hasher.card().input();
                    let decoded = match fs::read(&path).map(|bytes| image::decode(&bytes, input)) {
                        Ok(Ok(decoded)) => decoded,
                        Ok(Err(error)) => {
                            left_out.add(&path, error);
                            continue;
                        }
                        Err(error) => {
                            left_out.add(&path, error);
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
                left_out.into_result()?;
            }
        }
        Ok(())
    }
}

/// Runs a future on this thread.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("cannot start the runtime")?.block_on(work)
}
