//! Makes the lock: the manifest, the old lock and the fetcher give the new lock.
