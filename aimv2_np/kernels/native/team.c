#include "team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define SPINS 4000 /* turns of waiting, some 50 microseconds, before a thread sleeps: longer than most meetings take */

struct team {
    team_work *work;
    void *about;
    int size;
    atomic_long next;   /* task */
    atomic_int here;    /* members at the meeting */
    atomic_uint round;  /* of meetings */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

struct member {
    struct team *team;
    int index;
    pthread_t thread;
};

#if defined(__x86_64__)
typedef unsigned arithmetic;
static arithmetic flush_denormals(void) {
    arithmetic before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* results and operands */
    return before;
}
static void set_back(arithmetic before) { _mm_setcsr(before); }
static void pause_briefly(void) { _mm_pause(); }
#elif defined(__aarch64__)
typedef unsigned long arithmetic;
static void set_back(arithmetic to) { __asm__ volatile("msr fpcr, %0" ::"r"(to)); }
static arithmetic flush_denormals(void) {
    arithmetic before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    set_back(before | 1ul << 24);
    return before;
}
static void pause_briefly(void) { __asm__ volatile("yield"); }
#else
typedef int arithmetic;
static arithmetic flush_denormals(void) { return 0; }
static void set_back(arithmetic before) { (void)before; }
static void pause_briefly(void) {}
#endif

static void take_part(struct team *team, int index) {
    arithmetic before = flush_denormals();
    team->work(team->about, team, index);
    set_back(before);
}

static void *helper(void *argument) {
    struct member *me = argument;
    struct team *team = me->team;
    pthread_mutex_lock(&team->lock); /* until all threads are there, and the size is known */
    pthread_mutex_unlock(&team->lock);
    take_part(team, me->index);
    return NULL;
}

void team_run(team_work *work, void *about, int size) {
    struct team team = {.work = work, .about = about, .size = 1};
    struct member *members = size > 1 ? calloc((size_t)size, sizeof *members) : NULL;
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.changed, NULL);
    pthread_mutex_lock(&team.lock);
    for (int i = 1; members && i < size; i++) {
        members[i] = (struct member){.team = &team, .index = i};
        if (pthread_create(&members[i].thread, NULL, helper, &members[i])) break;
        team.size++;
    }
    pthread_mutex_unlock(&team.lock);
    take_part(&team, 0);
    for (int i = 1; i < team.size; i++) pthread_join(members[i].thread, NULL);
    pthread_cond_destroy(&team.changed);
    pthread_mutex_destroy(&team.lock);
    free(members);
}

int team_size(const struct team *team) { return team->size; }

long team_claim(struct team *team) { return atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed); }

void team_meet(struct team *team) {
    unsigned round = atomic_load(&team->round);
    if (atomic_fetch_add(&team->here, 1) + 1 == team->size) {
        atomic_store(&team->here, 0);
        atomic_store(&team->next, 0);
        pthread_mutex_lock(&team->lock);
        atomic_fetch_add(&team->round, 1);
        pthread_cond_broadcast(&team->changed);
        pthread_mutex_unlock(&team->lock);
        return;
    }
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&team->round, memory_order_acquire) != round) return;
        pause_briefly();
    }
    pthread_mutex_lock(&team->lock);
    while (atomic_load(&team->round) == round) pthread_cond_wait(&team->changed, &team->lock);
    pthread_mutex_unlock(&team->lock);
}
