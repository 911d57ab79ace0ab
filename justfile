# What people who work on kbuild run most; `just` alone lists it. The commands are plain cargo, so `just` is not needed.

# Lists these recipes.
default:
    @just --list --unsorted

# Unit tests, of one room if you name it: `just unit store::`.
unit *FILTER:
    cargo test --lib {{FILTER}}

# End-to-end tests whose name has NAME in it: `just e2e fetching`. `tests/run` sets up BitBake and the servers.
e2e NAME='':
    KBUILD_TEST_ENGINE={{justfile_directory()}}/target/bitbake-engine \
    KBUILD_TEST_SERVERS={{justfile_directory()}}/target/test-servers \
    cargo test --test e2e {{NAME}}

# What goes wrong around kbuild, by chance and for long: kills, faults of the disk, neighbours, hostile input.
adversity ROUNDS='500' SEED=`date +%s`:
    KBUILD_ADVERSITY_ROUNDS={{ROUNDS}} KBUILD_ADVERSITY_SEED={{SEED}} cargo test --release --test adversity -- --nocapture

# Takes the present output as right: snapshots and reference pages. Read `git diff` afterwards.
accept *FILTER: docs
    INSTA_UPDATE=always tests/run {{FILTER}}

# Writes the reference pages and the manifest's schema anew.
docs:
    KBUILD_UPDATE_DOCS=1 cargo test --lib is_current

# Builds the book of docs/ into target/book (`.ci/run` installs mdbook into target/mdbook).
book:
    PATH="$PWD/target/mdbook/bin:$PATH" mdbook build docs

# Every test, with what the tests need installed first.
test *FILTER:
    tests/run {{FILTER}}

# What has to pass before a commit.
ci:
    .ci/run
