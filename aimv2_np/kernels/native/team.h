/* The threads of one call: they begin with it, share its tasks out among them, and end with it.
 *
 * Nothing outlives a call, so a process may fork between calls, and several of its threads may call at once. Tasks are
 * claimed one by one: a thread whose core has something else to do claims fewer. */
#ifndef TEAM_H
#define TEAM_H

struct team;
typedef void team_work(void *about, struct team *team, int member);

/* Call `work(about, team, i)` for i < size at once, one call on this thread; where the system gives fewer threads, for
 * fewer. Denormal numbers count as zero in all of them; afterwards this thread's setting is what it was. */
void team_run(team_work *work, void *about, int size);

int team_size(const struct team *team);

/* The next task of this phase that nobody has: 0, 1, 2, ... */
long team_claim(struct team *team);

/* Wait for all members. What they have written can be read, and tasks begin at 0 again. */
void team_meet(struct team *team);

#endif
