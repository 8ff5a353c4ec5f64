// SPDX-License-Identifier: Apache-2.0
#include "run-job.hpp"

#include <functional>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "fetch-settings.hpp"
#include "job/json-fields.hpp"
#include "outcome.hpp"
#include "proxy-start.hpp"
#include "retry.hpp"
#include "store/catalog/image-changes.hpp"
#include "store/export/delta-export.hpp"
#include "store/export/image-copy.hpp"
#include "store/export/image-export.hpp"
#include "store/import/image-import.hpp"
#include "store/import/update-check.hpp"
#include "store/upkeep/prune.hpp"
#include "store/upkeep/usage-count.hpp"
#include "upkeep.hpp"

namespace imaged {

namespace {

// IMAGE as the job is to read it: with the administrator's signature source, if the caller's asks for less.
ImageReference source_reference(const ImageReference& image, const job::Settings& settings) {
    const auto source = image.signature_source();
    const bool unverified = source == SignatureSource::unverified;
    if ((source == SignatureSource::configured || unverified) &&
        demands_signature(settings.signature_policy, unverified))
        return image.with(SignatureSource::container_policy);
    return image;
}

// Of a kind that reads an image: what WORK says of it.
template <typename Work>
ImportRequest import_request(const job::Request& request, const Work& work) {
    ImportRequest import{.repository = request.repository, .image = source_reference(work.image, request.settings)};
    if constexpr (requires { work.target; }) import.target = work.target;
    if constexpr (requires { work.digest; }) import.digest = work.digest;
    if constexpr (requires { work.any_architecture; }) import.any_architecture = work.any_architecture;
    if constexpr (requires { work.delta; }) import.deltas = work.delta == job::DeltaUse::automatic;
    if constexpr (requires { work.name; }) import.archive_name = work.name;
    import.proxy = image_proxy_options(request);
    take_fetch_settings(import, request);
    import.keep_previous = request.settings.keep > 0;
    import.archive = request.input_file;
    import.writer = remote_writer(request, import.target.value_or(import.image));
    return import;
}

using StartedProxy = std::shared_ptr<SkopeoRun>;

// REQUEST for one attempt. The first gets the proxy that is there; whatever ended an attempt may have broken its proxy.
ImportRequest attempt_with(const ImportRequest& request, StartedProxy& proxy) {
    auto attempt = request;
    attempt.proxy.started = std::exchange(proxy, nullptr);
    return attempt;
}

// By another worker: this one may not read what others' layers are, and remove their refs.
std::vector<std::string> have_layers_dropped(RemoteWriter& writer) {
    const auto channel = writer.drop_layers();
    const auto text = read_all(channel.get(), job::max_message_bytes, "the result of a worker");
    const auto message = job::decode_message(text.substr(0, text.find('\n') + 1));
    const auto* const result = std::get_if<job::Result>(&message);
    if (result == nullptr || result->outcome != job::Outcome::success)
        throw Error(ErrorKind::failed, "drop unused layers: " + (result != nullptr ? result->message : "no result"));
    return job::from_json<job::RemoveOutcome>(*result->details).layers_dropped;
}

// An update leaves layers that nobody needs any more, which DROP drops and returns. The job has succeeded whatever
// becomes of them.
template <typename Drop>
std::vector<std::string> drop_what_is_left(Drop drop) {
    try {
        return drop();
    } catch (const std::exception&) {
        return {};  // the next prune tries again
    }
}

// And counts what images take now. A process that may not change the repository has another one do both.
std::vector<std::string> drop_replaced_layers(const ImportedImage& imported, const ImportRequest& import, unsigned keep,
                                              const Cancellation& cancellation) {
    if (!imported.changed) return {};
    return drop_what_is_left([&] {
        if (auto* const remote = dynamic_cast<RemoteWriter*>(import.writer.get())) return have_layers_dropped(*remote);
        std::vector<std::string> dropped;
        if (imported.previous_digest) dropped = drop_unused_layers(import.repository, keep);
        recount_images(import.repository, keep, FactsUse::known, cancellation);
        return dropped;
    });
}

// Does the jobs of one request: a function for each kind.
class Runner {
public:
    Runner(const job::Request& request, StartedProxy proxy, Cancellation& cancellation, ProgressMeter& meter)
        : request_(request), proxy_(std::move(proxy)), cancellation_(cancellation), meter_(meter) {}

    job::Result operator()(const job::Prepare& work) {
        const auto import = import_request(request_, work);
        return with_retries(request_.settings.retries, cancellation_, [&](Cancellation& attempt) {
            return prepare_result(import, prepare_import(attempt_with(import, proxy_), attempt, meter_));
        });
    }

    job::Result operator()(const job::Import& work) { return import(work); }
    job::Result operator()(const job::Pull& work) { return import(work); }
    job::Result operator()(const job::ImportArchive& work) { return import(work); }

    job::Result operator()(const job::Copy& work) {
        CopyRequest copy{.source = work.from ? work.repository : request_.repository,
                         .destination = work.from ? request_.repository : work.repository,
                         .make_destination = work.from,
                         .image = work.image,
                         .target = work.target,
                         .keep_previous = work.from && request_.settings.keep > 0};
        const auto copied = copy_image(copy, cancellation_, meter_);
        if (work.from && copied.changed && copied.previous_digest)
            drop_what_is_left([&] { return drop_unused_layers(copy.destination, request_.settings.keep); });
        // The objects of a copy may be links to those here.
        if (copied.changed)
            recount_images(request_.repository, request_.settings.keep, work.from ? FactsUse::known : FactsUse::afresh,
                           cancellation_);
        return copy_result(copy, work.from, copied);
    }

    job::Result operator()(const job::Export& work) {
        if (work.delta_from) return export_delta(work);
        ExportRequest wanted{.repository = request_.repository, .image = work.image, .destination = work.destination};
        switch (work.compression) {
            case job::LayerCompression::gzip: wanted.compression = Compression::gzip; break;
            case job::LayerCompression::zstd_chunked: wanted.chunked = true; [[fallthrough]];
            case job::LayerCompression::zstd: wanted.compression = Compression::zstd; break;
            case job::LayerCompression::none: wanted.compression = Compression::none; break;
        }
        wanted.proxy = proxy_options(request_);
        wanted.writer = remote_writer(request_);
        return with_retries(request_.settings.retries, cancellation_, [&](Cancellation& attempt) {
            return export_result(wanted, export_image(wanted, attempt, meter_));
        });
    }

    job::Result operator()(const job::Check& work) {
        auto import = import_request(request_, work);
        // What the caller's own credentials opened is not for everybody.
        import.remember_update = request_.settings.host_credentials;
        return with_retries(request_.settings.retries, cancellation_, [&](Cancellation& attempt) {
            std::optional<ImageChanges> changes;
            std::function<void(const PreparedImage&, LayerSource&)> at_source;
            if (work.packages) {
                at_source = [&](const PreparedImage& update, LayerSource& layers) {
                    changes = find_update_changes(request_.repository, import.target.value_or(import.image),
                                                  {update.source, update.plan.present, layers}, attempt);
                };
            }
            const auto checked = check_update(attempt_with(import, proxy_), attempt, meter_, at_source);
            return check_result(import, checked, changes);
        });
    }

    job::Result operator()(const job::CheckImages&) {
        throw Error(ErrorKind::failed, "the daemon starts a worker for each image");
    }
    job::Result operator()(const job::Changes& work) {
        return changes_result(work.image, find_changes({.repository = request_.repository,
                                                        .image = work.image,
                                                        .update = work.update,
                                                        .from = work.from,
                                                        .digest = work.version,
                                                        .commit = work.commit},
                                                       cancellation_));
    }
    job::Result operator()(const job::Remove& work) { return run_remove(request_, work, cancellation_); }
    job::Result operator()(const job::Rollback& work) { return run_rollback(request_, work, cancellation_); }
    job::Result operator()(const job::Prune& work) { return run_prune(request_, work, cancellation_, meter_); }
    job::Result operator()(const job::DiskUsage&) { return run_disk_usage(request_, cancellation_, meter_); }
    job::Result operator()(const job::Verify& work) { return run_verify(request_, work, cancellation_, meter_); }

private:
    job::Result export_delta(const job::Export& work) {
        DeltaRequest wanted{.repository = request_.repository,
                            .from = *work.delta_from,
                            .image = source_reference(work.image, request_.settings),
                            .destination = work.destination,
                            .version = work.compatible ? delta::TarDiffVersion::v1 : delta::TarDiffVersion::v2,
                            .expansion = {},
                            .proxy = proxy_options(request_)};
        take_fetch_settings(wanted, request_);
        wanted.writer = remote_writer(request_);
        return with_retries(request_.settings.retries, cancellation_, [&](Cancellation& attempt) {
            return delta_result(wanted, imaged::export_delta(wanted, attempt, meter_));
        });
    }

    template <typename Work>
    job::Result import(const Work& work) {
        const auto import = import_request(request_, work);
        return with_retries(request_.settings.retries, cancellation_, [&](Cancellation& attempt) {
            auto imported = import_image(attempt_with(import, proxy_), attempt, meter_);
            imported.bytes_fetched = meter_.fetched_bytes();
            return import_result(import, imported,
                                 drop_replaced_layers(imported, import, request_.settings.keep, cancellation_));
        });
    }

    const job::Request& request_;
    StartedProxy proxy_;
    Cancellation& cancellation_;
    ProgressMeter& meter_;
};

}  // namespace

job::Result run_job(const job::Request& request, StartedProxy proxy, Cancellation& cancellation, ProgressMeter& meter) {
    return std::visit(Runner(request, std::move(proxy), cancellation, meter), request.work);
}

}  // namespace imaged

extern "C" __attribute__((visibility("default"))) void imaged_run_job(const imaged::job::Request& request,
                                                                      std::shared_ptr<imaged::SkopeoRun> proxy,
                                                                      imaged::Cancellation& cancellation,
                                                                      imaged::ProgressMeter& meter,
                                                                      imaged::job::Result& result) {
    result = imaged::run_job(request, std::move(proxy), cancellation, meter);
}
