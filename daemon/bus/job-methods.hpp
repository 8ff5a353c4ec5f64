// SPDX-License-Identifier: Apache-2.0
// The methods of org.imaged1.Manager that start a job: each turns its arguments into a request. Bus thread only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bus/options.hpp"
#include "bus/reply.hpp"
#include "manager-adaptor.hpp"

namespace imaged {

// The answer that a method owes to its caller: number and path of the job.
using StartedJob = sdbus::Result<std::uint32_t, sdbus::ObjectPath>;

class JobMethods : public sdbus::AdaptorInterfaces<org::imaged1::Manager_adaptor, sdbus::ObjectManager_adaptor> {
protected:
    using AdaptorInterfaces::AdaptorInterfaces;
    // May throw, and owes the answer otherwise. INPUT is the file that the job reads, if any.
    virtual void start(StartedJob&& result, job::Work work, const VariantMap& options, FileDescriptor input = {}) = 0;

private:
    void Prepare(StartedJob&& result, std::string image, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Prepare{.image = parse(image)}, options); });
    }
    void ImportImage(StartedJob&& result, std::string image, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Import{{.image = parse(image)}}, options); });
    }
    void Pull(StartedJob&& result, std::string image, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Pull{{.image = parse(image)}}, options); });
    }
    void ImportArchive(StartedJob&& result, sdbus::UnixFd archive, std::string image, VariantMap options) override {
        with_bus_errors([&] {
            start(std::move(result), job::ImportArchive{.image = parse(image)}, options,
                  take_file("archive", archive.get()));
        });
    }
    void Copy(StartedJob&& result, std::string image, std::string repository, VariantMap options) override {
        with_bus_errors([&] {
            start(std::move(result),
                  job::Copy{.image = parse(image), .repository = parse_path("repository", repository)}, options);
        });
    }
    void Export(StartedJob&& result, std::string image, std::string destination, VariantMap options) override {
        with_bus_errors([&] {
            start(std::move(result), job::Export{.image = parse(image), .destination = parse_destination(destination)},
                  options);
        });
    }
    void Check(StartedJob&& result, std::string image, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Check{.image = parse(image)}, options); });
    }
    void CheckImages(StartedJob&& result, std::vector<std::string> images, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::CheckImages{image_list(images, true)}, options); });
    }
    void Changes(StartedJob&& result, std::string image, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Changes{.image = parse(image)}, options); });
    }
    void Rollback(StartedJob&& result, std::string image, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Rollback{.image = parse(image)}, options); });
    }

    void Remove(StartedJob&& result, std::vector<std::string> images, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Remove{image_list(images, false)}, options); });
    }
    void Prune(StartedJob&& result, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Prune{}, options); });
    }
    void DiskUsage(StartedJob&& result, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::DiskUsage{}, options); });
    }
    void Verify(StartedJob&& result, std::vector<std::string> images, VariantMap options) override {
        with_bus_errors([&] { start(std::move(result), job::Verify{.images = image_list(images, true)}, options); });
    }

    static ImageReference parse(const std::string& image) { return ImageReference::parse(image); }
};

}  // namespace imaged
