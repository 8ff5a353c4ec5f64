// SPDX-License-Identifier: Apache-2.0
#include "bus/manager.hpp"

#include <utility>

#include "bus/job-record.hpp"
#include "bus/verification.hpp"
#include "job/json-fields.hpp"
#include "process/journal.hpp"

namespace imaged {

namespace {

// For the message of a refusal.
std::string what_is_done(std::string_view action) {
    if (action == pull_unverified_action) return "pull or import images that need no signature";
    if (action == store_as_action) return "store an image under another name";
    if (action == cancel_action) return "cancel the job of another user";
    if (action == job::Rollback::traits.action) return "roll back images";
    return std::string(action) + " images";
}

// The name that the caller chose for what REQUEST stores; null if the image's own name decides, or nothing is
// stored.
const ImageReference* stored_as(const job::Request& request) {
    if (!request.traits().action) return nullptr;
    if (request.as<job::ImportArchive>() != nullptr) return request.image();
    const auto* const target = request.target();
    return target != nullptr && *target ? &**target : nullptr;
}

// The arguments that are not at their defaults as texts, for the authority, by the names of the interface.
std::map<std::string, std::string> options_of(const job::Request& request) {
    std::map<std::string, std::string> options;
    std::visit(
        [&](const auto& work) {
            const auto defaults = job::to_json(std::decay_t<decltype(work)>()), given = job::to_json(work);
            for (const auto& [key, value] : given.items())
                if (key != "image" && !(defaults.contains(key) && value == defaults[key]))
                    options[key] = bus_text(value.is_string() ? value.template get<std::string>() : json_text(value));
        },
        request.work);
    if (const auto* const name = stored_as(request)) options["target"] = bus_text(name->image());
    return options;
}

// Whether the job of REQUEST repairs, which fetches from where the caller says.
bool repairs(const job::Request& request) {
    const auto* const verify = request.as<job::Verify>();
    return verify != nullptr && verify->repair;
}

// Whether actions_for() reads the containers policy.
bool asks_policy(const job::Request& request) {
    return request.traits().stores_image || repairs(request) || stored_as(request) != nullptr;
}

// What must be allowed for the job of REQUEST, which asks_policy() and is made stricter if that is the condition.
// Throws Error(not_authorized) for what nothing allows. On any thread: it waits for the disk.
std::vector<std::string_view> actions_for(const Caller& caller, job::Request& request, const job::Settings& settings) {
    std::vector actions{*request.traits().action};
    const bool stores = request.traits().stores_image;
    if (stores && is_unverified(request, settings)) {
        actions = {pull_unverified_action};
    } else if (stores || repairs(request)) {
        // A repair fetches a lost manifest anew, from where the caller says.
        demand_signature(request);
    }
    const auto* const name = stored_as(request);
    if (stores) require_tag(name != nullptr ? *name : *request.image());
    if (name != nullptr) {
        in_context("user " + std::to_string(caller.uid), [&] { require_policy_of_name(request, *name); });
        actions.push_back(store_as_action);
    }
    return actions;
}

void tell_refusal(const Error& error, const Caller& caller, JobRecord refused) {
    refused.fields.emplace("IMAGED_USER", std::to_string(caller.uid));
    refused.fields.emplace("IMAGED_ERROR", std::string(error_name(error.kind())));
    journal::tell(journal::Event::call_refused, "refused: " + std::string(error.what()) + " (" + refused.text + ")",
                  refused.fields);
}

[[noreturn]] void refuse_unauthorised(const std::string& what, const Caller& caller, const JobRecord& refused) {
    const Error error(ErrorKind::not_authorized, "user " + std::to_string(caller.uid) + " may not " + what);
    tell_refusal(error, caller, refused);
    throw error;
}

// Throws Error(not_authorized) if VERDICT says no.
void require(const Verdict& verdict, std::string_view action, const Caller& caller, const JobRecord& refused) {
    if (verdict.allowed) return;
    refuse_unauthorised(what_is_done(action) + " (org.imaged1." + std::string(action) + "): " + verdict.reason, caller,
                        refused);
}

// Of what somebody wants of a job that is there.
JobRecord record_of(JobId id) {
    return {"job " + std::to_string(number(id)), {{"IMAGED_JOB", std::to_string(number(id))}}};
}

}  // namespace

Manager::Manager(sdbus::IConnection& connection, EventLoop& loop, Activity& activity, Authority& authority,
                 HostServices* host, ManagerSettings settings)
    : JobMethods(connection, sdbus::ObjectPath{"/org/imaged1"}),
      activity_(activity),
      authority_(authority),
      settings_(std::move(settings)),
      jobs_(connection, loop, settings_.worker, settings_.files,
            {[this](JobId id) { ignoring_errors([&] { emitJobNew(number(id), JobObject::path(id)); }); },
             [this](JobId id, const std::string& result) { job_ended(id, result); },
             [this](const job::ChangedImage& change) {
                 ignoring_errors([&] {
                     emitImageChanged(bus_text(change.image), bus_text(change.old_digest.value_or("")),
                                      bus_text(change.new_digest.value_or("")));
                 });
             },
             [this](const job::FoundUpdate& update) {
                 ignoring_errors([&] {
                     emitUpdateFound(bus_text(update.image), bus_text(update.digest), bus_text(update.update_digest),
                                     bus_text(update.update_version.value_or("")));
                 });
             },
             [host](bool changes) {
                 if (host != nullptr) host->inhibitor.hold(changes);
             },
             [this](JobTable::Listed listed) { name_images(std::move(listed)); },
             [host](bool network, HostConditions::Answer answer) {
                 if (host == nullptr) return answer(std::nullopt);
                 host->conditions.ask(network, std::move(answer));
             },
             [this](JobId id, const std::string& sender, bool interactive, sdbus::Result<bool>&& result) {
                 cancel(id, sender, interactive, std::move(result));
             },
             [this](JobId id, const std::string& sender, JobObject::OutcomeResult&& result) {
                 answer_outcome(id, sender, std::move(result));
             }}),
      callers_(connection,
               [this](const std::string& bus_name) {
                   authority_.caller_left(bus_name);
                   jobs_.queue().caller_left(bus_name);
               }),
      catalog_(loop, settings_.repository,
               [this](const ImageCounts& before) {
                   const auto& counts = catalog_.counts();
                   jobs_.metrics().set_images(counts.images, counts.damaged, counts.updates);
                   if (counts.updates == before.updates) return;
                   ignoring_errors([this] {
                       getObject().emitPropertiesChangedSignal(
                           bus::InterfaceName{org::imaged1::Manager_adaptor::INTERFACE_NAME},
                           {bus::PropertyName{"UpdatesAvailable"}});
                   });
               }),
      files_(loop) {
    jobs_.queue().set_limits(settings_.limits);
    catalog_.refresh_mode();
    // When others are served already.
    loop.post([this] { catalog_.refresh_counts(); });
    registerAdaptor();
}

void Manager::reconfigure(const ManagerSettings& settings) {
    settings_.sysroot = settings.sysroot;
    settings_.worker = settings.worker;
    settings_.configuration_error = settings.configuration_error;
    jobs_.set_worker(settings.worker);
    jobs_.queue().set_limits(settings.limits);
}

void Manager::shut_down() {
    shutting_down_ = true;
    jobs_.queue().stop_all();
}

void Manager::job_ended(JobId id, const std::string& result) {
    activity_.touch();
    catalog_.refresh_mode();
    const auto& counts = catalog_.counts();
    if (jobs_.objects().at(id)->traits().recounts || counts.updates > 0 || counts.damaged > 0)
        catalog_.refresh_counts();
    ignoring_errors([&] { emitJobRemoved(number(id), JobObject::path(id), result); });
}

void Manager::start(StartedJob&& result, job::Work work, const VariantMap& options, FileDescriptor input) {
    activity_.touch();
    const auto arguments =
        std::make_shared<JobArguments>(parse_job_arguments(std::move(work), options, settings_.repository));
    arguments->files.input = std::move(input);
    arguments->interactive = arguments->interactive || bus::allows_dialogue(getObject());
    const Started reply(std::move(result), activity_);
    with_caller(
        bus::sender(getObject()), reply,
        [this, arguments, reply](const Caller& caller) {
            require_no_path(caller, *arguments);
            if (authority_.trusts(caller)) return submit_as_owner(arguments, reply, caller);
            const auto action = arguments->request.traits().action;
            if (!action) return submit(reply, caller, *arguments, Standing::open);
            if (!asks_policy(arguments->request)) return ask({*action}, arguments, reply, caller);
            files_.ask(caller, [this, arguments, reply, caller, settings = settings_.worker.jobs] {
                try {
                    return EventLoop::Callback(
                        [this, arguments, reply, caller, actions = actions_for(caller, arguments->request, settings)] {
                            reply.answer_with([&] { ask(actions, arguments, reply, caller); });
                        });
                } catch (...) {
                    return EventLoop::Callback([reply, caller, arguments, error = current_error()] {
                        if (error.kind() == ErrorKind::not_authorized)
                            tell_refusal(error, caller, record_of(arguments->request));
                        reply.fail(error);
                    });
                }
            });
        },
        arguments->bytes);
}

// Others name no paths.
void Manager::submit_as_owner(const std::shared_ptr<JobArguments>& arguments, const Started& reply,
                              const Caller& caller) {
    if (!arguments->place) return submit(reply, caller, *arguments, Standing::owner);
    files_.ask(caller, [this, arguments, reply, caller] {
        try {
            require_same_place(*arguments->place);
            return EventLoop::Callback([this, arguments, reply, caller] {
                reply.answer_with([&] { submit(reply, caller, *arguments, Standing::owner); });
            });
        } catch (...) {
            return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
        }
    });
}

// Asks about ACTIONS, and submits the job when all are allowed.
void Manager::ask(std::vector<std::string_view> actions, const std::shared_ptr<JobArguments>& arguments,
                  const Started& reply, const Caller& caller) {
    const auto& request = arguments->request;
    jobs_.queue().require_room(caller, request, arguments->files);
    ask(std::move(actions),
        {{}, caller, request.image_name().value_or(std::string()), options_of(request), arguments->interactive},
        arguments, reply);
}

// Asks about one of ACTIONS after the other.
void Manager::ask(std::vector<std::string_view> actions, Question question,
                  const std::shared_ptr<JobArguments>& arguments, const Started& reply) {
    question.action = actions.front();
    actions.erase(actions.begin());
    authority_.check(question,
                     [this, actions = std::move(actions), question, arguments, reply](const Verdict& verdict) {
                         reply.answer_with([&] {
                             require(verdict, question.action, question.caller, record_of(arguments->request));
                             if (actions.empty())
                                 return submit(reply, question.caller, *arguments, Standing::authorised);
                             ask(actions, question, arguments, reply);
                         });
                     });
}

void Manager::submit(const Started& reply, const Caller& caller, JobArguments& arguments, Standing standing) {
    if (shutting_down_) throw Error(ErrorKind::stopped, "imaged is being stopped");
    if (!callers_.known(caller.bus_name)) throw Error(ErrorKind::cancelled, "the caller has left");
    const auto id = jobs_.queue().submit(caller, std::move(arguments.request), std::move(arguments.files),
                                         arguments.bind_to_caller, standing);
    reply.answer(number(id), JobObject::path(id));
}

// Before anybody is asked: no authorisation lets a caller read files through the daemon.
void Manager::require_no_path(const Caller& caller, const JobArguments& arguments) const {
    if (authority_.trusts(caller)) return;
    const auto& request = arguments.request;
    const std::string kind(request.traits().name);
    const auto* const exported = request.as<job::Export>();
    if (request.as<job::Copy>() != nullptr ||
        (exported != nullptr && exported->destination.transport() != Transport::registry))
        refuse_unauthorised(kind + " images by a path that imaged would have to open", caller, record_of(request));
    const auto require_registry = [&](const ImageReference& image) {
        if (image.transport() != Transport::registry)
            refuse_unauthorised(kind + " " + image.canonical() +
                                    ": only images of registries (docker://), or an archive as an open file "
                                    "(ImportArchive)",
                                caller, record_of(request));
    };
    if (request.traits().reads_image || (exported != nullptr && exported->delta_from))
        require_registry(*request.image());
    if (const auto* const verify = request.as<job::Verify>(); verify != nullptr && verify->source)
        require_registry(*verify->source);
}

void Manager::answer_outcome(JobId id, const std::string& sender, JobObject::OutcomeResult&& result) {
    activity_.touch();
    const Reply<std::string, std::string, std::string, VariantMap> reply(std::move(result), activity_);
    with_caller(sender, reply, [this, id, reply](const Caller& caller) {
        const auto found = jobs_.objects().find(id);
        if (found == jobs_.objects().end())
            throw Error(ErrorKind::not_found, "there is no job " + std::to_string(number(id)));
        const auto& job = *found->second;
        if (job.is_private() && job.owner() != caller.uid && !authority_.trusts(caller))
            refuse_unauthorised("read the outcome of this job: it is for the job's user and root", caller,
                                record_of(id));
        reply.answer(job.result(), job.error_name(), job.message(), job.outcome());
    });
}

void Manager::CancelJob(sdbus::Result<bool>&& result, std::uint32_t id) {
    with_bus_errors([&] {
        if (!jobs_.contains(JobId{id})) throw Error(ErrorKind::not_found, "there is no job " + std::to_string(id));
        cancel(JobId{id}, bus::sender(getObject()), bus::allows_dialogue(getObject()), std::move(result));
    });
}

void Manager::cancel(JobId id, const std::string& sender, bool interactive, sdbus::Result<bool>&& result) {
    activity_.touch();
    const Reply<bool> reply(std::move(result), activity_);
    with_caller(sender, reply,
                [this, id, interactive, reply](const Caller& caller) { cancel_as(reply, id, caller, interactive); });
}

void Manager::cancel_as(const Reply<bool>& reply, JobId id, const Caller& caller, bool interactive) {
    if (jobs_.queue().has_share(id, caller)) {
        reply.answer(jobs_.queue().give_up(id, caller));
        return;
    }
    const auto found = jobs_.objects().find(id);
    if (found == jobs_.objects().end() || found->second->state() == job::State::finished) {
        reply.answer(false);  // over already: nothing to cancel
        return;
    }
    authority_.check({cancel_action, caller, found->second->image(), {}, interactive},
                     [this, reply, id, caller](const Verdict& verdict) {
                         reply.answer_with([&] {
                             require(verdict, cancel_action, caller, record_of(id));
                             jobs_.queue().cancel(id);
                             reply.answer(false);
                         });
                     });
}

std::vector<sdbus::Struct<std::uint32_t, sdbus::ObjectPath, std::string, std::string>> Manager::ListJobs() {
    return with_bus_errors([this] {
        activity_.touch();
        std::vector<sdbus::Struct<std::uint32_t, sdbus::ObjectPath, std::string, std::string>> list;
        for (const auto& [id, object] : jobs_.objects()) {
            list.emplace_back(number(id), JobObject::path(id), std::string(object->traits().name),
                              std::string(to_string(object->state())));
        }
        return list;
    });
}

std::string Manager::Version() {
    activity_.touch();
    return IMAGED_VERSION;
}

std::string Manager::RepositoryPath() {
    activity_.touch();
    return bus_text(settings_.repository);
}

std::string Manager::RepositoryMode() {
    activity_.touch();
    // For the next caller: a file system that hangs must not stop this thread.
    catalog_.refresh_mode();
    return catalog_.mode();
}

std::uint32_t Manager::UpdatesAvailable() {
    activity_.touch();
    return catalog_.counts().updates;
}

std::vector<std::string> Manager::Features() {
    activity_.touch();
    return {"gzip", "zstd"};
}

std::string Manager::ConfigurationError() {
    activity_.touch();
    return bus_text(settings_.configuration_error.value_or(""));
}

}  // namespace imaged
