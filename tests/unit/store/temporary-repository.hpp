// SPDX-License-Identifier: Apache-2.0
// An empty repository in a temporary directory, and what is needed to put objects into it. Gone with the object.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "layer/staging-area.hpp"
#include "layer/writer-pool.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class TemporaryDirectory {
public:
    TemporaryDirectory() {
        std::string name = (std::filesystem::temp_directory_path() / "imaged-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
        path = name;
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    std::string path;
};

// Whether a test passes is no question of how full the disk is. REPOSITORY is a new one: [core] is its only section.
inline void remove_reserve(const std::string& repository) {
    std::ofstream(repository + "/config", std::ios::app) << "min-free-space-percent=0\n";
}

struct TemporaryRepository {
    TemporaryDirectory directory;
    std::string path = made(directory.path + "/repo");
    Repository repository{path};
    LocalStaging staging{repository.fd()};
    WriterPool pool{2};

private:
    static std::string made(const std::string& path) {
        Repository::create(path);
        remove_reserve(path);
        return path;
    }
};

}  // namespace imaged
