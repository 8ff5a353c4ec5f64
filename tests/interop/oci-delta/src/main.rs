// SPDX-License-Identifier: Apache-2.0
// Applies the delta TAG of an OCI layout by the crate oci-delta: each layer that it makes becomes OUT/NUMBER.tar, the
// number being that of the layer in the image. ROOT holds the files of the source image under their paths.
//
// Usage: apply-delta LAYOUT TAG ROOT OUT
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use anyhow::{bail, ensure, Context, Result};
use oci_delta::{is_delta_artifact, parse_delta_manifest, reconstruct_layer_to, BlobStream, BlobStreamFuture, DeltaBlobReader, DeltaDataSource};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

struct Layout(PathBuf);

impl Layout {
    fn open(&self, blob: &Descriptor) -> Result<File> {
        Ok(File::open(self.0.join("blobs").join(blob.digest().to_string().replace(':', "/")))?)
    }
}

impl DeltaBlobReader for Layout {
    fn open_blob(&self, blob: &Descriptor) -> BlobStreamFuture<'_> {
        let file = self.open(blob).map(|file| Box::new(file) as Box<dyn BlobStream>);
        Box::pin(async move { file })
    }
}

struct Root {
    directory: PathBuf,
    current: Option<File>,
}

impl Root {
    fn current(&mut self) -> Result<&mut File> {
        self.current.as_mut().context("no file is open")
    }
}

impl DeltaDataSource for Root {
    fn set_current_file(&mut self, path: &str) -> Result<()> {
        ensure!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))), "bad path {path}");
        let path = self.directory.join(path);
        ensure!(path.symlink_metadata()?.is_file(), "{} is no regular file", path.display());
        self.current = Some(File::open(path)?);
        Ok(())
    }
    fn read_exact_current(&mut self, buffer: &mut [u8]) -> Result<()> {
        Ok(self.current()?.read_exact(buffer)?)
    }
    fn seek_current(&mut self, offset: u64) -> Result<u64> {
        Ok(self.current()?.seek(SeekFrom::Start(offset))?)
    }
    fn read_current_to_end(&mut self, limit: u64) -> Result<Vec<u8>> {
        let file = self.current()?;
        ensure!(file.metadata()?.len() <= limit, "the file is too large");
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
    fn copy_to(&mut self, target: &mut dyn Write, count: u64) -> Result<()> {
        let copied = std::io::copy(&mut self.current()?.take(count), target)?;
        ensure!(copied == count, "the file is too short");
        Ok(())
    }
}

// The futures here never wait.
fn ready<T>(future: impl std::future::Future<Output = T>) -> T {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!(),
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [layout, tag, root, out] = &arguments[..] else { bail!("usage: apply-delta LAYOUT TAG ROOT OUT") };
    let layout = Layout(layout.into());
    let index = ImageIndex::from_file(layout.0.join("index.json"))?;
    let named = |entry: &&Descriptor| entry.annotations().as_ref().and_then(|found| found.get("org.opencontainers.image.ref.name")) == Some(tag);
    let entry = index.manifests().iter().find(named).context("there is no such tag")?;
    let manifest = ImageManifest::from_reader(layout.open(entry)?)?;
    ensure!(is_delta_artifact(&manifest), "no delta");
    let delta = ready(parse_delta_manifest(&manifest, &layout))?;
    for (number, layer) in delta.target_manifest.layers().iter().enumerate() {
        let Some(blob) = delta.delta_layer_by_to.get(layer.digest()) else { continue };
        let diff_id = delta.target_config.rootfs().diff_ids()[number].parse()?;
        let mut source = Root { directory: root.into(), current: None };
        let mut target = std::io::BufWriter::new(File::create(Path::new(out).join(format!("{number}.tar")))?);
        reconstruct_layer_to(layout.open(blob)?, blob.media_type(), &mut source, &diff_id, &mut target).with_context(|| format!("layer {number}"))?;
        target.flush()?;
        println!("{number} {diff_id}");
    }
    Ok(())
}
