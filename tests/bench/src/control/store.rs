//! The operator's store as somebody with etcdctl has it: keys put, and watched.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use etcd_client::{
    Certificate, Client, ConnectOptions, DeleteOptions, EventType, Identity, TlsOptions, Txn, TxnOp, WatchOptions,
};
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;
use tokio::runtime::Runtime;

/// What etcd takes in one transaction: it counts up to 128 operations and 1.5 MB.
const OPERATIONS: usize = 100;
const BYTES: usize = 1 << 20;
/// A fragment may have some 100 kB, and a watch brings many in one message.
const MESSAGE: usize = 256 << 20;

/// A connection to etcd.
pub struct Store {
    runtime: Runtime,
    client: Client,
}

/// A key that was put, or deleted.
#[derive(Debug, Clone)]
pub struct Change {
    pub key: String,
    /// None: it was deleted.
    pub value: Option<String>,
    pub revision: i64,
    /// When it was heard of, on [`clock`].
    pub at: Duration,
}

/// What comes of a watch. It ends with the store it is of.
pub struct Watch(Receiver<Change>);

/// What `pathsteer-operator etcdctl-env` exports.
pub struct Access<'a> {
    pub endpoint: &'a str,
    pub ca: &'a Path,
    pub certificate: &'a Path,
    pub key: &'a Path,
}

impl Store {
    /// Connects from `host`.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn connect(host: &Host, access: &Access) -> Result<Store> {
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(read(access.ca)?))
            .identity(Identity::from_pem(read(access.certificate)?, read(access.key)?));
        // sockets and threads that are made here stay in the host's namespace
        host.net.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let client = runtime.block_on(async {
                let options = ConnectOptions::new().with_tls(tls);
                let client = Client::connect([access.endpoint], Some(options)).await?;
                client.kv_client().get("/", None).await?;
                Ok::<_, anyhow::Error>(client)
            })?;
            Ok(Store { runtime, client })
        })
    }

    /// Puts one key; the revision that has it.
    ///
    /// # Errors
    /// What etcd says.
    pub fn put(&self, key: &str, value: &str) -> Result<i64> {
        let answer = self.runtime.block_on(self.client.kv_client().put(key, value, None))?;
        Ok(answer.header().map_or(0, |header| header.revision()))
    }

    /// Puts keys in transactions of a hundred; the revision of the last.
    ///
    /// # Errors
    /// What etcd says.
    pub fn put_all(&self, keys: impl IntoIterator<Item = (String, String)>) -> Result<i64> {
        let (mut operations, mut bytes, mut revision) = (Vec::new(), 0, 0);
        let mut kv = self.client.kv_client();
        let mut send = |operations: &mut Vec<TxnOp>| -> Result<i64> {
            let answer = self.runtime.block_on(kv.txn(Txn::new().and_then(std::mem::take(operations))))?;
            Ok(answer.header().map_or(0, |header| header.revision()))
        };
        for (key, value) in keys {
            let size = key.len() + value.len();
            if operations.len() == OPERATIONS || (bytes + size > BYTES && !operations.is_empty()) {
                revision = send(&mut operations)?;
                bytes = 0;
            }
            bytes += size;
            operations.push(TxnOp::put(key, value, None));
        }
        if !operations.is_empty() {
            revision = send(&mut operations)?;
        }
        Ok(revision)
    }

    /// Deletes everything below `prefix`.
    ///
    /// # Errors
    /// What etcd says.
    pub fn delete_all(&self, prefix: &str) -> Result<()> {
        let options = DeleteOptions::new().with_prefix();
        self.runtime.block_on(self.client.kv_client().delete(prefix, Some(options)))?;
        Ok(())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// What etcd says, or that there is none.
    pub fn get(&self, key: &str) -> Result<String> {
        let answer = self.runtime.block_on(self.client.kv_client().get(key, None))?;
        let found = answer.kvs().first().with_context(|| format!("no {key} in the store"))?;
        Ok(found.value_str()?.to_owned())
    }

    /// Watches everything below `prefix` from now on.
    ///
    /// # Errors
    /// What etcd says.
    pub fn watch(&self, prefix: &str) -> Result<Watch> {
        let (heard, changes) = channel();
        let mut client = self.client.watch_client().max_decoding_message_size(MESSAGE);
        let prefix = prefix.to_owned();
        let stream = self.runtime.block_on(async move {
            let mut stream = client.watch(prefix, Some(WatchOptions::new().with_prefix())).await?;
            // the first message says that it is there
            stream.message().await?;
            Ok::<_, anyhow::Error>(stream)
        })?;
        self.runtime.spawn(listen(stream, heard));
        Ok(Watch(changes))
    }
}

async fn listen(mut stream: etcd_client::WatchStream, heard: Sender<Change>) {
    while let Ok(Some(message)) = stream.message().await {
        let at = clock::now();
        for event in message.events() {
            let Some(kv) = event.kv() else { continue };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let value = (event.event_type() == EventType::Put).then(|| text(kv.value()));
            let change = Change { key: text(kv.key()), value, revision: kv.mod_revision(), at };
            if heard.send(change).is_err() {
                return;
            }
        }
    }
}

impl Watch {
    /// The next change; none by `deadline`.
    ///
    /// # Errors
    /// The watch has ended.
    pub fn next(&self, deadline: Duration) -> Result<Option<Change>> {
        match self.0.recv_timeout(deadline.saturating_sub(clock::now())) {
            Ok(change) => Ok(Some(change)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("the watch on etcd has ended")),
        }
    }

    /// Waits for a change that `wanted` accepts, and hands every change until then to it.
    ///
    /// # Errors
    /// When there is none by `deadline`; `what` says what it would have been.
    pub fn until(&self, what: &str, deadline: Duration, mut wanted: impl FnMut(&Change) -> bool) -> Result<Change> {
        loop {
            match self.next(deadline)? {
                Some(change) if wanted(&change) => return Ok(change),
                Some(_) => {}
                None => bail!("in vain waited for: {what}"),
            }
        }
    }

    /// Waits until nothing has been written for so long.
    ///
    /// # Errors
    /// The watch has ended, or there is no end to it.
    pub fn rest(&self, quiet: Duration, deadline: Duration) -> Result<()> {
        while self.next(clock::now() + quiet)?.is_some() {
            if clock::now() > deadline {
                bail!("the store does not come to rest");
            }
        }
        Ok(())
    }
}
