// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/deployed-commits.hpp"

#include <filesystem>
#include <string_view>

namespace imaged {

std::map<std::string, Checksum> deployed_commits(const Repository& repository) {
    namespace fs = std::filesystem;
    std::map<std::string, Checksum> commits;
    const auto place = fs::read_symlink(path_of_descriptor(repository.fd()));
    const auto stateroots = place.parent_path() / "deploy";
    if (place.filename() != "repo" || !fs::is_directory(stateroots)) return commits;
    for (const auto& stateroot : fs::directory_iterator(stateroots)) {
        if (!fs::is_directory(stateroot.path() / "deploy")) continue;
        for (const auto& deployment : fs::directory_iterator(stateroot.path() / "deploy")) {
            const auto name = deployment.path().filename().string();
            const auto commit = Checksum::from_hex(std::string_view(name).substr(0, name.find('.')));
            if (commit && deployment.is_directory() && repository.has_object(ObjectType::commit, *commit))
                commits.emplace(name, *commit);
        }
    }
    return commits;
}

}  // namespace imaged
