/* Is a FINISH accepted once? docs/protocol.md, section 2.0.2: cookies, pre-keys, and the memory of the responder.

The model handshake.fof has no time and no memory; this one has nothing else. An attacker on the path has recorded one
good FINISH. It sends that whenever it likes, between FINISHes of its own that may fill the responder's memory, as
fast as the limit allows. Time passes in ticks, and the responder may restart. One tick stands for the seconds of
the page; the sizes are small, and keep the proportions: the memory has room for the FINISHes of all ticks that a
cookie lives, of the tick in which it is made, and for a burst. */

#define RATE     2   /* FINISHes that are opened in a tick, and in a burst */
#define LIFETIME 3   /* ticks that a cookie lives */
#define TICKS    9   /* longer than all that the responder remembers */
#ifdef SMALL_MEMORY
#define MEMORY   (RATE * LIFETIME)
#else
#define MEMORY   (RATE * (LIFETIME + 2))
#endif
#ifdef COOKIES_FOR_EVER
#define IS_YOUNG true
#else
#define IS_YOUNG (age <= LIFETIME)
#endif
#ifdef SECRET_KEPT
#define IS_OURS  true
#else
#define IS_OURS  (!restarted)
#endif

byte age = 0;             /* of the cookie in the recorded FINISH */
byte tokens = RATE;       /* what the limit allows now */
byte later = 0;           /* FINISHes remembered after the recorded one */
bool remembered = false;
bool restarted = false;
byte accepted = 0;

inline flood() {
    tokens--;
    if
    :: remembered ->
        later++;
        if
        :: later >= MEMORY -> remembered = false
        :: else
        fi
    :: else
    fi
}

init {
    do
    :: age < TICKS -> d_step { age++; tokens = RATE }
    :: tokens > 0 -> d_step { flood() }
    :: tokens > 0 && IS_YOUNG && IS_OURS && !remembered -> d_step {
        tokens--;
        accepted++;
        assert(accepted == 1);
#ifndef NO_MEMORY
        remembered = true;
        later = 0
#endif
       }
    :: !restarted -> d_step { restarted = true; remembered = false; tokens = RATE }
    :: age >= TICKS -> break
    od
}
