// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/usage-count.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/partial-mark.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/ref-state.hpp"
#include "store/repository/disk-usage.hpp"
#include "store/repository/repository.hpp"
#include "store/upkeep/deployed-commits.hpp"
#include "store/upkeep/garbage.hpp"
#include "store/upkeep/layer-use.hpp"
#include "store/upkeep/object-graph.hpp"
#include "store/upkeep/prune.hpp"

namespace imaged {

namespace {

using Node = ObjectGraph::Node;

// Share of the job that reading the objects takes.
constexpr double read_end = 0.8;
// Beyond that a job ends without a count: it would wait for seconds, and take more memory than the rest of it.
constexpr std::size_t max_recounted_objects = 250'000;

struct User {
    UserKind kind;
    std::string name;
    std::set<Checksum> commits;
    bool partial = false;  // pulled in part on purpose: what is missing is no damage
    std::string damage;
};

bool is_of_deployment(const std::string& ref) {
    return ref.starts_with("ostree/0/") || ref.starts_with("ostree/1/");
}

bool may_have_layers(const std::string& ref) {
    return is_of_deployment(ref) || ref.starts_with("rpmostree/base/") ||
           ref.starts_with("ostree/container/baseimage/");
}

// Whose usage is to be counted: all other users count as one if it is only the images'.
enum class Counted { all, images };

// Who needs which commits.
class Users {
public:
    // REFS are those of all users.
    Users(const Repository& repository, Refs refs, const UnneededRefs& unneeded, Counted counted)
        : repository_(repository), refs_(std::move(refs)), counted_(counted) {
        for (const char* directory : layer_ref_directories) refs_.merge(repository.refs(directory));
        for (const auto& [ref, commit] : unneeded.refs) refs_.erase(ref);
        for (const auto& [name, commit] : deployed_commits(repository)) add_deployment(name, commit);
        for (const auto& [ref, commit] : refs_) {
            if (!is_layer_ref(ref)) add_ref(ref, commit);
        }
        // That an alias leads to, or whose users cannot be read.
        for (const auto& [ref, commit] : refs_) {
            if (is_layer_ref(ref) && !layers_.contains(ref)) add_commit(user(UserKind::ref, ref), commit);
        }
    }

    std::vector<User> take() {
        std::stable_sort(users_.begin(), users_.end(),
                         [](const auto& one, const auto& other) { return one.kind < other.kind; });
        return std::move(users_);
    }

private:
    User& user(UserKind kind, const std::string& name) {
        if (counted_ == Counted::images && kind != UserKind::image && !name.empty()) return user(UserKind::ref, "");
        const auto [found, is_new] = numbers_.try_emplace({kind, name}, users_.size());
        if (is_new) users_.push_back({kind, name, {}, false, {}});
        return users_[found->second];
    }

    void add_deployment(const std::string& name, const Checksum& commit) {
        auto& names = deployments_[commit];
        if (!names.empty() && counted_ == Counted::all) {
            auto& known = user(UserKind::deployment, names);
            numbers_[{UserKind::deployment, names + ", " + name}] = numbers_.at({UserKind::deployment, names});
            known.name = names += ", " + name;
            return;
        }
        names = name;
        add_commit(user(UserKind::deployment, name), commit);
    }

    void add_ref(const std::string& ref, const std::optional<Checksum>& commit) {
        const auto kept = parse_kept_ref(ref);
        const bool is_image = kept || ref.starts_with(image_ref_prefix);
        if (is_image) return add_with_layers(user(UserKind::image, image_of_ref(kept ? kept->first : ref)), commit);
        if (is_of_deployment(ref)) {
            const auto deployed = commit ? deployments_.find(*commit) : deployments_.end();
            return add_with_layers(user(UserKind::deployment, deployed == deployments_.end() ? ref : deployed->second),
                                   commit);
        }
        auto& other = user(UserKind::ref, ref);
        if (may_have_layers(ref)) return add_with_layers(other, commit);
        add_commit(other, commit);
    }

    void add_commit(User& user, const std::optional<Checksum>& commit) {
        if (!commit) {
            user.damage = "its ref names no commit";
            return;
        }
        if (user.commits.insert(*commit).second) user.partial |= has_partial_mark(repository_.fd(), *commit);
    }

    void add_with_layers(User& user, const std::optional<Checksum>& commit) {
        add_commit(user, commit);
        try {
            for (const auto& layer : layers_of_commit(repository_, commit)) {
                const auto found = refs_.find(layer);
                if (found == refs_.end()) continue;
                add_commit(user, found->second);
                layers_.insert(layer);
            }
        } catch (const Error& error) {
            if (is_system_failure(error)) throw;
            user.damage = error.what();
        }
    }

    const Repository& repository_;
    Refs refs_;
    const Counted counted_;
    std::vector<User> users_;
    std::map<std::pair<UserKind, std::string>, std::size_t> numbers_;
    std::map<Checksum, std::string> deployments_;  // names by commit
    std::set<std::string> layers_;                 // refs of layers that somebody needs
};

// Who reaches which nodes. Users are numbered by the caller.
class Reach {
public:
    explicit Reach(const ObjectGraph& graph) : graph_(graph), users_(graph.size(), nobody), walks_(graph.size(), 0) {
        for (Node node = 0; node < graph.size(); ++node) {
            if (graph.is_linked_elsewhere(node)) users_[node] = several;
        }
    }

    struct Sum {
        std::uint64_t bytes = 0;
        bool broken = false;
    };
    // All that USER reaches from ROOTS, in one call.
    Sum add(std::int32_t user, const std::vector<Node>& roots) {
        ++walk_;
        Sum sum;
        auto& open = open_;
        open = roots;
        while (!open.empty()) {
            const auto node = open.back();
            open.pop_back();
            if (std::exchange(walks_[node], walk_) == walk_) continue;
            auto& found = users_[node];
            found = found == nobody ? user : several;
            sum.bytes += graph_.bytes(node);
            sum.broken |= graph_.is_broken(node);
            const auto below = graph_.below(node);
            open.insert(open.end(), below.begin(), below.end());
        }
        return sum;
    }

    bool has_user(Node node) const { return users_[node] != nobody; }
    // Adds to SIZES, by user, what only that one reaches.
    void add_unique(std::vector<std::uint64_t>& sizes) const {
        for (Node node = 0; node < graph_.size(); ++node) {
            if (users_[node] >= 0) sizes[static_cast<std::size_t>(users_[node])] += graph_.bytes(node);
        }
    }

private:
    static constexpr std::int32_t nobody = -1, several = -2;

    const ObjectGraph& graph_;
    std::vector<std::int32_t> users_;
    std::vector<std::uint32_t> walks_;  // the last that came by
    std::uint32_t walk_ = 0;
    std::vector<Node> open_;
};

class Count {
public:
    // FACTS of all objects.
    Count(const Repository& repository, unsigned keep, ObjectFacts facts, const Cancellation& cancellation,
          WorkObserver& observer)
        : repository_(repository),
          cancellation_(cancellation),
          observer_(observer),
          unneeded_(UnneededRefs::find(repository, keep)),
          graph_(std::move(facts), repository.has_parent()),
          reach_(graph_) {}

    // The users alone. REFS are theirs.
    std::vector<UsageOfUser> run_users(Refs refs, Counted counted) {
        users_ = Users(repository_, std::move(refs), unneeded_, counted).take();
        observer_.begin("count", read_end, 1, "images");
        for (auto& user : users_) {
            cancellation_.check();
            roots_.push_back(roots_of(user));
            sums_.push_back(reach_.add(number(sums_.size()), roots_.back()));
            observer_.advance(sums_.size(), users_.size());
        }
        add_unnamed();
        count_users();
        return std::move(usage_.users);
    }

    Usage run(Refs refs) {
        usage_.users = run_users(std::move(refs), Counted::all);
        count_kinds();
        count_prunable();
        for (Node node = 0; node < graph_.size(); ++node) usage_.bytes += graph_.bytes(node);
        usage_.objects = graph_.objects();
        return std::move(usage_);
    }

private:
    static std::int32_t number(std::size_t user) { return static_cast<std::int32_t>(user); }

    std::vector<Node> roots_of(User& user) const {
        std::vector<Node> roots;
        for (const auto& commit : user.commits) {
            if (const auto node = graph_.find_commit(commit))
                roots.push_back(*node);
            else if (user.damage.empty() && !repository_.has_parent())
                user.damage = "commit " + commit.hex() + " is missing";
        }
        return roots;
    }

    // Commits that no ref reaches: those of other programs stay, with what they reach.
    void add_unnamed() {
        std::vector<std::pair<Checksum, Node>> unnamed;
        for (const auto& commit : graph_.commits()) {
            const auto node = graph_.find_commit(commit);
            if (node && !reach_.has_user(*node)) unnamed.emplace_back(commit, *node);
        }
        const auto ours = commits_of_images(unnamed);
        std::vector<Node> others;
        for (const auto& [commit, node] : unnamed) {
            if (!ours.contains(node)) others.push_back(node);
        }
        usage_.unnamed_commits = others.size();
        if (!others.empty()) {
            sums_.push_back(reach_.add(number(users_.size()), others));
            users_.push_back({UserKind::commits, "", {}, true, {}});
            roots_.push_back(std::move(others));
        }
        for (const auto& [commit, node] : unnamed) {
            if (reach_.has_user(node)) continue;
            doomed_.insert(commit);
            doomed_roots_.push_back(node);
        }
    }

    // Those that a prune knows to have come from images (garbage.hpp).
    std::set<Node> commits_of_images(const std::vector<std::pair<Checksum, Node>>& unnamed) const {
        std::set<Node> ours;
        for (const auto& [ref, commit] : whole(unneeded_.refs)) {
            if (const auto node = graph_.find_commit(commit)) ours.insert(*node);
        }
        for (const auto& [commit, node] : unnamed) {
            if (!graph_.is_from_image(node)) continue;
            ours.insert(node);
            for (const auto below : graph_.below(node)) {
                if (graph_.kind(below) == ObjectKind::commit) ours.insert(below);
            }
        }
        return ours;
    }

    void count_users() {
        std::vector<std::uint64_t> unique(users_.size());
        reach_.add_unique(unique);
        for (std::size_t i = 0; i < users_.size(); ++i) {
            auto& user = users_[i];
            const auto& sum = sums_[i];
            if (sum.broken && user.damage.empty() && !user.partial) user.damage = "some of its objects cannot be read";
            any_damage_ |= !user.damage.empty();
            usage_.users.push_back({user.kind, user.name, {sum.bytes, unique[i]}, user.damage});
        }
    }

    void count_kinds() {
        std::map<UserKind, std::vector<Node>> roots;
        for (std::size_t i = 0; i < users_.size(); ++i) {
            auto& of_kind = roots[users_[i].kind];
            of_kind.insert(of_kind.end(), roots_[i].begin(), roots_[i].end());
        }
        Reach reach(graph_);
        std::vector<std::uint64_t> unique(static_cast<std::size_t>(UserKind::commits) + 1);
        for (const auto& [kind, nodes] : roots)
            usage_.kinds[kind].bytes = reach.add(static_cast<std::int32_t>(kind), nodes).bytes;
        reach.add_unique(unique);
        for (auto& [kind, size] : usage_.kinds) size.unique = unique[static_cast<std::size_t>(kind)];
    }

    // As collect_garbage() has it: if something is damaged, only what a doomed commit reaches goes.
    void count_prunable() {
        DiskUsage rest;
        usage_of_leftovers(repository_, unneeded_, rest);
        usage_of_records(repository_, doomed_, rest);
        usage_.prunable = rest.bytes();
        const bool damaged = any_damage_ || !unneeded_.use.damaged.empty();
        const auto doomed = number(users_.size());
        std::vector<bool> kept(graph_.size());
        for (Node node = 0; node < graph_.size(); ++node) kept[node] = reach_.has_user(node);
        reach_.add(doomed, doomed_roots_);
        for (Node node = 0; node < graph_.size(); ++node) {
            if (!kept[node] && (reach_.has_user(node) || (!damaged && may_go(node))))
                usage_.prunable += graph_.bytes(node);
        }
    }

    bool may_go(Node node) const {
        switch (graph_.kind(node)) {
            case ObjectKind::file:
            case ObjectKind::dirtree:
            case ObjectKind::dirmeta:
            case ObjectKind::shared_file: return true;
            default: return false;
        }
    }

    const Repository& repository_;
    const Cancellation& cancellation_;
    WorkObserver& observer_;
    const UnneededRefs unneeded_;
    const ObjectGraph graph_;
    Reach reach_;
    std::vector<User> users_;
    std::vector<std::vector<Node>> roots_;  // of each user
    std::vector<Reach::Sum> sums_;
    std::set<Checksum> doomed_;  // commits that a prune removes
    std::vector<Node> doomed_roots_;
    bool any_damage_ = false;
    Usage usage_;
};

// Refs may change while they are counted: the record is of what they were all the time, or of nothing.
class Recording {
public:
    Recording(const Repository& repository, FactsUse use) : repository_(repository), refs_(repository) {
        if (use == FactsUse::known) refs_.recall();
        refs_.refresh();
    }

    Refs refs() const { return refs_.refs(); }
    // For the next job.
    void remember() const { refs_.remember(); }

    // Whether there is a record of the refs.
    bool is_kept() const { return UsageRecord::read(repository_.fd()).is_of(refs_.value()); }

    void keep(const std::vector<UsageOfUser>& users) {
        const auto state = refs_.value();
        refs_.refresh();
        if (refs_.value() != state) return;
        std::map<std::string, UsageRecord::Size> images;
        for (const auto& user : users) {
            if (user.kind == UserKind::image && user.damage.empty()) images.emplace(user.name, user.size);
        }
        UsageRecord(state, std::move(images)).write(repository_.writer());
    }

private:
    const Repository& repository_;
    RefState refs_;
};

class Silence : public WorkObserver {
public:
    void begin(std::string_view, double, double, std::string_view) override {}
    void advance(std::uint64_t, std::uint64_t) override {}
};

void recount(const std::string& path, unsigned keep, FactsUse use, const Cancellation& cancellation) {
    auto existing = Repository::open_existing(path);
    if (!existing || !existing->is_unlocked() || estimated_objects(*existing) > max_recounted_objects) return;
    auto& repository = *existing;
    if (use == FactsUse::known && !has_few_images(repository)) return;
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    Recording recording(repository, use);
    if (use == FactsUse::unchanged && recording.is_kept()) return;
    Silence silence;
    auto facts = ObjectFacts::read(repository, use == FactsUse::known ? ObjectFacts::load(repository) : ObjectFacts(),
                                   cancellation, silence);
    facts.save(repository);
    Count count(repository, keep, std::move(facts), cancellation, silence);
    recording.keep(count.run_users(recording.refs(), Counted::images));
    recording.remember();
}

}  // namespace

Usage count_usage(const std::string& path, unsigned keep, std::shared_ptr<RepositoryWriter> writer,
                  const Cancellation& cancellation, WorkObserver& observer) {
    auto existing = Repository::open_existing(path);
    if (!existing) return {};
    auto& repository = *existing;
    if (writer) repository.write_through(std::move(writer));
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    Recording recording(repository, FactsUse::afresh);
    observer.begin("count", 0, read_end, "directories");
    auto facts = ObjectFacts::read(repository, {}, cancellation, observer);
    auto usage = Count(repository, keep, std::move(facts), cancellation, observer).run(recording.refs());
    try {
        recording.keep(usage.users);
    } catch (const Error&) {
        // Listings do without.
    }
    return usage;
}

void recount_images(const std::string& path, unsigned keep, FactsUse use, const Cancellation& cancellation) noexcept {
    try {
        recount(path, keep, use, cancellation);
    } catch (const std::exception&) {
        // The job that it is for has succeeded all the same; the next count will do.
    }
}

}  // namespace imaged
