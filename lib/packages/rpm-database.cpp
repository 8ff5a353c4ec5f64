// SPDX-License-Identifier: Apache-2.0
#include "packages/rpm-database.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <string_view>

#include "base/error.hpp"
#include "packages/rpm-header.hpp"

namespace imaged {

namespace {

// Of the library in all: pages, the schema, one package's header.
constexpr sqlite3_int64 max_heap_bytes = 128LL * 1024 * 1024;
// Steps of the library's virtual machine between two checks, and in all: a package takes about five.
constexpr int check_steps = 10'000;
constexpr int max_checks = 1'000;
constexpr int max_rows = PackageSet::max_packages;
constexpr const char* database_name = "rpmdb";

// What the library sees of the machine: one file, which never changes.
class OneFile {
public:
    explicit OneFile(const RandomFile& file) : file_(file) {
        vfs_.iVersion = 1;
        vfs_.szOsFile = sizeof(Open);
        vfs_.mxPathname = 64;
        vfs_.zName = "imaged-one-file";
        vfs_.pAppData = this;
        vfs_.xOpen = open;
        vfs_.xDelete = [](sqlite3_vfs*, const char*, int) { return SQLITE_IOERR_DELETE; };
        vfs_.xAccess = [](sqlite3_vfs*, const char*, int, int* result) {
            *result = 0;
            return SQLITE_OK;
        };
        vfs_.xFullPathname = [](sqlite3_vfs*, const char* name, int size, char* full) {
            return sqlite3_snprintf(size, full, "%s", name) == nullptr ? SQLITE_CANTOPEN : SQLITE_OK;
        };
        vfs_.xRandomness = [](sqlite3_vfs*, int size, char* bytes) {
            std::fill_n(bytes, size, '\0');
            return size;
        };
        vfs_.xSleep = [](sqlite3_vfs*, int microseconds) { return microseconds; };
        vfs_.xCurrentTime = [](sqlite3_vfs*, double* time) {
            *time = 0;
            return SQLITE_OK;
        };
        vfs_.xGetLastError = [](sqlite3_vfs*, int, char*) { return 0; };
        if (sqlite3_vfs_register(&vfs_, 0) != SQLITE_OK) throw Error(ErrorKind::failed, "sqlite3_vfs_register failed");
    }
    ~OneFile() { sqlite3_vfs_unregister(&vfs_); }
    OneFile& operator=(OneFile&&) = delete;

    const char* name() const { return vfs_.zName; }
    // Throws what the file threw, which the library knows as a failed read.
    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    struct Open {
        sqlite3_file base;
        OneFile* self;
    };

    static int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* opened, int flags, int* out_flags) {
        opened->pMethods = nullptr;
        if ((flags & SQLITE_OPEN_MAIN_DB) == 0 || name == nullptr || std::string_view(name) != database_name)
            return SQLITE_CANTOPEN;
        static const sqlite3_io_methods methods = file_methods();
        opened->pMethods = &methods;
        reinterpret_cast<Open*>(opened)->self = static_cast<OneFile*>(vfs->pAppData);
        if (out_flags != nullptr) *out_flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB;
        return SQLITE_OK;
    }

    static sqlite3_io_methods file_methods() {
        sqlite3_io_methods methods{};
        methods.iVersion = 1;
        methods.xClose = [](sqlite3_file*) { return SQLITE_OK; };
        methods.xRead = read;
        methods.xWrite = [](sqlite3_file*, const void*, int, sqlite3_int64) { return SQLITE_READONLY; };
        methods.xTruncate = [](sqlite3_file*, sqlite3_int64) { return SQLITE_READONLY; };
        methods.xSync = [](sqlite3_file*, int) { return SQLITE_OK; };
        methods.xFileSize = [](sqlite3_file* file, sqlite3_int64* size) {
            *size = static_cast<sqlite3_int64>(reinterpret_cast<Open*>(file)->self->file_.size);
            return SQLITE_OK;
        };
        methods.xLock = [](sqlite3_file*, int) { return SQLITE_OK; };
        methods.xUnlock = [](sqlite3_file*, int) { return SQLITE_OK; };
        methods.xCheckReservedLock = [](sqlite3_file*, int* reserved) {
            *reserved = 0;
            return SQLITE_OK;
        };
        methods.xFileControl = [](sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; };
        methods.xSectorSize = [](sqlite3_file*) { return 4096; };
        // rpm's databases are in WAL mode; for a file that never changes the library needs no log of it.
        methods.xDeviceCharacteristics = [](sqlite3_file*) { return SQLITE_IOCAP_IMMUTABLE; };
        return methods;
    }

    static int read(sqlite3_file* file, void* buffer, int amount, sqlite3_int64 offset) {
        auto& self = *reinterpret_cast<Open*>(file)->self;
        const std::span all(static_cast<std::byte*>(buffer), static_cast<std::size_t>(amount));
        const auto begin = static_cast<std::uint64_t>(offset);
        const auto there = begin < self.file_.size ? std::min<std::uint64_t>(self.file_.size - begin, all.size()) : 0;
        std::fill(all.begin() + static_cast<std::ptrdiff_t>(there), all.end(), std::byte{0});
        try {
            if (there > 0) self.file_.read(begin, all.first(there));
        } catch (...) {
            self.failure_ = std::current_exception();
            return SQLITE_IOERR_READ;
        }
        return there == all.size() ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
    }

    const RandomFile& file_;
    sqlite3_vfs vfs_{};
    std::exception_ptr failure_;
};

struct CloseDatabase {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
};
struct FinishStatement {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, FinishStatement>;

// The library takes what is missing from the last page for zeros.
void require_whole_pages(const RandomFile& file) {
    constexpr std::uint64_t page_size_at = 16;
    std::array<std::byte, 2> bytes{};
    if (file.size < page_size_at + bytes.size()) throw Error(ErrorKind::corrupt_input, "it is cut");
    file.read(page_size_at, bytes);
    const auto size = std::to_integer<unsigned>(bytes[0]) << 8U | std::to_integer<unsigned>(bytes[1]);
    constexpr unsigned largest_page = 65536;
    if (file.size % (size == 1 ? largest_page : std::max(size, 1U)) != 0)
        throw Error(ErrorKind::corrupt_input, "it is cut");
}

class RpmDatabase {
public:
    RpmDatabase(const RandomFile& file, const std::function<void()>& check) : vfs_(file), check_(check) {
        sqlite3_hard_heap_limit64(max_heap_bytes);
        sqlite3* opened = nullptr;
        const int result =
            sqlite3_open_v2(database_name, &opened, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, vfs_.name());
        database_.reset(opened);
        require(result, SQLITE_OK);
        restrict();
    }

    void read(PackageSet& into) {
        require_table();
        const auto select = prepare("SELECT blob FROM Packages");
        for (int rows = 0; step(select); ++rows) {
            if (rows == max_rows)
                throw Error(ErrorKind::unsupported_image, "it has more than " + std::to_string(max_rows) + " packages");
            if (sqlite3_column_type(select.get(), 0) != SQLITE_BLOB)
                throw Error(ErrorKind::corrupt_input, "a package has no header");
            const auto* const bytes = static_cast<const std::byte*>(sqlite3_column_blob(select.get(), 0));
            const auto size = static_cast<std::size_t>(sqlite3_column_bytes(select.get(), 0));
            if (bytes == nullptr && size > 0) require(SQLITE_NOMEM, SQLITE_OK);
            into.add(parse_rpm_header({bytes, size}));
        }
    }

private:
    // The schema is the image's as well: nothing of it is run, and no more is kept than a package needs.
    void restrict() {
        sqlite3* const database = database_.get();
        for (const auto& [option, value] : {std::pair(SQLITE_DBCONFIG_DEFENSIVE, 1),
                                            {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                                            {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
                                            {SQLITE_DBCONFIG_ENABLE_VIEW, 0}})
            require(sqlite3_db_config(database, option, value, nullptr), SQLITE_OK);
        sqlite3_limit(database, SQLITE_LIMIT_LENGTH, static_cast<int>(max_rpm_header_bytes));
        sqlite3_limit(database, SQLITE_LIMIT_SQL_LENGTH, 100'000);
        sqlite3_limit(database, SQLITE_LIMIT_ATTACHED, 0);
        sqlite3_limit(database, SQLITE_LIMIT_WORKER_THREADS, 0);
        sqlite3_progress_handler(database, check_steps, on_progress, this);
        for (const char* const pragma : {"PRAGMA cell_size_check=1", "PRAGMA cache_size=-2048", "PRAGMA mmap_size=0"}) {
            const auto statement = prepare(pragma);
            while (step(statement)) continue;
        }
    }

    // A view or a virtual table of the name would be a program of the image's.
    void require_table() {
        const auto find = prepare("SELECT 1 FROM sqlite_master WHERE name='Packages' AND type='table' AND rootpage>0");
        if (!step(find)) throw Error(ErrorKind::corrupt_input, "it has no table Packages");
    }

    Statement prepare(const char* text) {
        sqlite3_stmt* statement = nullptr;
        require(sqlite3_prepare_v2(database_.get(), text, -1, &statement, nullptr), SQLITE_OK);
        return Statement(statement);
    }

    // False at the end.
    bool step(const Statement& statement) {
        const int result = sqlite3_step(statement.get());
        if (result == SQLITE_DONE) return false;
        require(result, SQLITE_ROW);
        return true;
    }

    // The library's own words for RESULT: its longer messages quote the schema.
    void require(int result, int wanted) {
        if (result == wanted) return;
        vfs_.rethrow();
        if (failure_) std::rethrow_exception(failure_);
        const bool too_much = result == SQLITE_NOMEM || result == SQLITE_TOOBIG || result == SQLITE_INTERRUPT;
        throw Error(too_much ? ErrorKind::unsupported_image : ErrorKind::corrupt_input,
                    result == SQLITE_INTERRUPT ? "it takes too long to read"
                                               : std::string("SQLite: ") + sqlite3_errstr(result));
    }

    static int on_progress(void* self) {
        auto& database = *static_cast<RpmDatabase*>(self);
        try {
            database.check_();
        } catch (...) {
            database.failure_ = std::current_exception();
            return 1;
        }
        return ++database.checks_ > max_checks ? 1 : 0;
    }

    OneFile vfs_;
    const std::function<void()>& check_;
    std::exception_ptr failure_;
    int checks_ = 0;
    std::unique_ptr<sqlite3, CloseDatabase> database_;
};

}  // namespace

void read_rpm_database(const RandomFile& file, const std::function<void()>& check, PackageSet& into) {
    if (file.size > max_rpm_database_bytes)
        throw Error(ErrorKind::unsupported_image,
                    "it is larger than the limit of " + std::to_string(max_rpm_database_bytes) + " bytes");
    require_whole_pages(file);
    RpmDatabase(file, check).read(into);
}

}  // namespace imaged
