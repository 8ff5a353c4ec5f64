// SPDX-License-Identifier: Apache-2.0
// Fills a repository with many images, without a process for each:
//   fill REPOSITORY
// reads lines of two words, an oci-archive (not compressed) and the reference that its image is stored under.
#include <fcntl.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "base/cancellation.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "store/import/image-import.hpp"

namespace {

using namespace imaged;

class Silence : public ImportObserver {
public:
    void phase(ImportPhase) override {}
    void layers(const std::vector<ImageLayer>&, const std::vector<bool>&) override {}
    void fetched(std::size_t, std::size_t) override {}
    void finished(std::size_t) override {}
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: fill REPOSITORY < LIST\n", stderr);
        return 2;
    }
    try {
        Silence silence;
        std::string path, name;
        while (std::cin >> path >> name) {
            const auto archive = open_at(AT_FDCWD, path, O_RDONLY);
            Cancellation cancellation;
            ImportRequest request{argv[1], ImageReference::parse(name)};
            request.archive = archive.get();
            import_image(request, cancellation, silence);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "fill: %s\n", error.what());
        return 1;
    }
    return 0;
}
