#!/usr/bin/env python3
"""Writes data/demo/train.jsonl and data/demo/eval.jsonl, the dataset of the quick start.

The task: a message from somebody in a building becomes a work order of five fixed lines. The base model
answers such a message with advice; after a minute or two of training it writes the work order.

Every row was written by hand for this project: `message | item | place | fault | priority`, grouped by the
team that does the work. Priority: high = danger, spreading damage or work at a standstill; low = can wait;
normal = everything else. Every eighth row of a team is held back for evaluation.

    scripts/make_demo_data.py            write the two files
    scripts/make_demo_data.py --check    compare them with what would be written; exit 1 if they differ

Standard library only; the same input gives the same bytes on every Python 3.
"""

import json
import pathlib
import sys

HOLD_BACK_EVERY = 8

TABLE = {
    "plumbing": """
The tap in the second-floor kitchen has been dripping since Monday. | tap | second-floor kitchen | dripping | low
Water is pouring out from under the sink in the staff room! | sink | staff room | water pouring out | high
One of the toilets in the men's room by reception won't stop running. | toilet | men's room by reception | keeps running | normal
Could someone look at the shower in the changing room? The water drains very slowly. | shower | changing room | drains slowly | normal
There's a pipe hissing and spraying water across the boiler room floor. | pipe | boiler room | spraying water | high
The washbasin in room 14 is blocked and smells bad. | washbasin | room 14 | blocked | normal
No hot water from the tap in the nurses' station this morning. | tap | nurses' station | no hot water | normal
The drinking fountain next to the gym only gives a thin trickle. | drinking fountain | next to the gym | weak flow | low
A brown stain is spreading on the ceiling under the upstairs bathroom, and it drips. | ceiling | under the upstairs bathroom | water coming through | high
The dishwasher in the canteen leaves a puddle every time it runs. | dishwasher | canteen | leaks when running | normal
Handle of the mixer tap in laboratory B came off in my hand. | mixer tap | laboratory B | handle came off | normal
The floor drain in the garage is backing up, there is dirty water everywhere. | floor drain | garage | backing up | high
Flush button on the accessible toilet on level 3 is stuck. | flush button | accessible toilet on level 3 | stuck | normal
The urinal in the east corridor washroom overflows when flushed. | urinal | east corridor washroom | overflows | high
The outdoor hose tap behind the greenhouse leaks a little at the thread. | hose tap | behind the greenhouse | leaks at the thread | low
We can't turn off the water in the art studio, the valve just spins. | valve | art studio | does not close | high
The water cooler in the waiting area tastes of metal. | water cooler | waiting area | water tastes of metal | normal
Limescale has nearly closed the shower head in flat 6. | shower head | flat 6 | clogged with limescale | low
The gutter pipe at the north wall broke and rain runs down the bricks. | gutter pipe | north wall | broken | normal
My kitchen sink in apartment 22 gurgles whenever the neighbours use theirs. | kitchen sink | apartment 22 | gurgles | low
The toilet seat in the visitors' restroom is cracked. | toilet seat | visitors' restroom | cracked | low
The water heater in the bakery is leaking from the bottom. | water heater | bakery | leaking | high
There is rust-coloured water coming from the bath tap in room 308. | bath tap | room 308 | rusty water | normal
The soap-sink drain in the kindergarten is clogged with sand. | drain | kindergarten | clogged with sand | normal
A sewage smell comes up from the drain in the basement archive. | drain | basement archive | smells of sewage | normal
The sprinkler pipe above the server room is dripping onto a rack! | sprinkler pipe | above the server room | dripping | high
The washing machine in the laundry doesn't fill with water any more. | washing machine | laundry | does not fill | normal
The sensor tap in the first-floor ladies' room runs all night. | sensor tap | first-floor ladies' room | does not shut off | normal
The plug of the washbasin in the dentist's room two is missing. | washbasin plug | dentist's room two | missing | low
The radiator valve drips on the carpet in the reading room. | radiator valve | reading room | dripping | normal
The ice machine at the hotel bar is leaking across the floor where people walk. | ice machine | hotel bar | leaking on the floor | high
Water pressure in the top-floor shower is far too low to rinse soap off. | shower | top floor | low water pressure | normal
The toilet in cabin 5 does not flush at all. | toilet | cabin 5 | does not flush | high
Please replace the worn washer of the tap in the potting shed when convenient. | tap | potting shed | worn washer | low
The sump pump in the cellar has stopped and the water is rising. | sump pump | cellar | stopped | high
The bottle trap under the sink in classroom 9 has come loose. | bottle trap | classroom 9 | loose | normal
The eye-wash station in the chemistry lab gives no water. | eye-wash station | chemistry lab | no water | high
The bathroom tap in suite 401 squeals when opened. | bathroom tap | suite 401 | squeals | low
The grease trap behind the restaurant is full and starts to smell. | grease trap | behind the restaurant | full | normal
A frozen pipe has burst in the loading bay. | pipe | loading bay | burst | high
""",
    "electrical": """
The light above desk 12 keeps flickering. | light | above desk 12 | flickering | low
There are sparks coming from the socket in the photocopy room! | socket | photocopy room | sparking | high
The hallway lamp on the fourth floor is out. | hallway lamp | fourth floor | out | normal
Half of the sockets in meeting room Oslo have no power. | sockets | meeting room Oslo | no power | normal
The breaker for the kitchen trips every time we use the kettle. | breaker | kitchen | trips | normal
The emergency exit sign by stairwell C is dark. | exit sign | stairwell C | dark | high
A cable is hanging loose from the ceiling in the lobby at head height. | cable | lobby | hanging loose | high
The motion sensor light in the bicycle cellar stays on all day. | motion sensor light | bicycle cellar | stays on | low
Our whole office on level 2 has lost power. | power supply | level 2 office | no power | high
The light switch in the storeroom is cracked and you can see the wires. | light switch | storeroom | cracked, wires exposed | high
The fluorescent tube in classroom 5 hums loudly. | fluorescent tube | classroom 5 | hums | low
The hand dryer in the cinema washroom does nothing. | hand dryer | cinema washroom | does not work | low
The electric gate motor at the rear entrance gets very hot and smells burnt. | gate motor | rear entrance | overheating | high
The doorbell of the clinic is silent since the storm. | doorbell | clinic | silent | normal
Could the dimmer in the banquet hall be repaired? It only knows full brightness. | dimmer | banquet hall | does not dim | low
The extractor fan in the cafeteria kitchen makes a grinding noise. | extractor fan | cafeteria kitchen | grinding noise | normal
I got a small shock from the metal lamp in the sewing workshop. | metal lamp | sewing workshop | gives electric shocks | high
The car charger on parking space 17 shows a red light and does not charge. | car charger | parking space 17 | does not charge | normal
Two street lamps along the footpath to the dormitory are dark. | street lamps | footpath to the dormitory | dark | normal
The socket next to my bed in ward 3 is loose in the wall. | socket | ward 3 | loose | normal
The stage lights in the school theatre go off on their own after ten minutes. | stage lights | school theatre | go off on their own | normal
The clock in the ticket hall has stopped at twenty past four. | clock | ticket hall | stopped | low
The backup battery in the telephone cupboard beeps without pause. | backup battery | telephone cupboard | beeping | normal
Smoke came out of the fuse box in the workshop just now. | fuse box | workshop | smoking | high
The timer for the shop-window lights is an hour off. | timer | shop window | an hour off | low
The floor socket in the conference room is missing its lid. | floor socket | conference room | lid missing | normal
The fan heater in the porter's lodge blows the fuse. | fan heater | porter's lodge | blows the fuse | normal
The reading light on the library's window seat is far too dim. | reading light | library window seat | too dim | low
The lift in the west wing stops between floors and the light goes out. | lift | west wing | stops between floors | high
The cold room in the butcher's shop has lost power and the meat is warming up. | cold room | butcher's shop | no power | high
The bulb in the basement stairs burned out, it is pitch dark there. | bulb | basement stairs | burned out | high
The USB outlet in the lounge no longer charges phones. | USB outlet | lounge | does not charge | low
The projector screen in lecture hall 1 won't roll down. | projector screen | lecture hall 1 | does not roll down | normal
The electric blinds in office 210 are stuck halfway. | electric blinds | office 210 | stuck halfway | low
The microphone in the chapel crackles during every service. | microphone | chapel | crackles | normal
The mower's charging station in the courtyard has a chewed cable. | charging station | courtyard | cable damaged | high
The light in the freezer of the cantina is broken. | light | cantina freezer | broken | normal
Every lamp in the pottery room dims when the kiln starts. | lamps | pottery room | dim when the kiln starts | normal
The red warning lamp on the roof mast is out. | warning lamp | roof mast | out | high
The cover of the junction box near the swimming pool is gone. | junction box | near the swimming pool | cover missing | high
""",
    "heating": """
It's only 15 degrees in the accounting office and the radiator is cold. | radiator | accounting office | cold | normal
The air conditioner in the server room has failed and it is getting hot. | air conditioner | server room | failed | high
The thermostat in room 7 shows nothing any more. | thermostat | room 7 | display blank | normal
The radiator in the music room knocks whenever it warms up. | radiator | music room | knocks | low
There is a smell of gas near the boiler in the cellar! | boiler | cellar | smell of gas | high
The ventilation in the lecture hall blows cold air onto the front rows. | ventilation | lecture hall | blows cold air | normal
The heating in the nursery does not come on and the babies are cold. | heating | nursery | does not come on | high
The radiator in the corridor cannot be turned down. | radiator | corridor | cannot be turned down | low
The air vent above my desk in the newsroom whistles. | air vent | newsroom | whistles | low
The air conditioning in the pharmacy drips onto the counter. | air conditioning | pharmacy | dripping | normal
The heat pump behind the town hall is covered in ice. | heat pump | behind the town hall | iced up | normal
The underfloor heating in the bathroom of suite 12 stays cold. | underfloor heating | suite 12 bathroom | stays cold | normal
The carbon monoxide alarm in the boiler house went off twice today. | carbon monoxide alarm | boiler house | went off | high
It is 31 degrees in the open-plan office because the cooling is off. | cooling | open-plan office | off | normal
The filter light on the air purifier in the dental practice is red. | air purifier | dental practice | filter due | low
The boiler in block D shows error F28 and has shut down. | boiler | block D | error F28, shut down | high
Please bleed the radiator in the sewing room, it gurgles. | radiator | sewing room | gurgles | low
The fan coil in hotel room 512 rattles all night. | fan coil | hotel room 512 | rattles | normal
The greenhouse heater went out and frost is forecast tonight. | heater | greenhouse | went out | high
The air in the basement gym is stale, I think the ventilation is dead. | ventilation | basement gym | not running | normal
The thermostat knob in the vestry is broken off. | thermostat knob | vestry | broken off | low
The hot-air curtain at the main entrance blows cold. | hot-air curtain | main entrance | blows cold | normal
The fume hood in the physics lab has lost its suction. | fume hood | physics lab | no suction | high
The radiator in the waiting room is hot at the top and cold at the bottom. | radiator | waiting room | cold at the bottom | low
The humidifier in the violin store is empty and blinking. | humidifier | violin store | empty | normal
The chimney of the stove in the ski hut does not draw, smoke fills the room. | chimney | ski hut | does not draw | high
The cooling of the wine cellar is set too cold and can't be changed. | cooling | wine cellar | too cold | normal
The duct above the print shop has come apart at a joint. | duct | above the print shop | come apart | normal
The heating in the church has run at full power since Easter. | heating | church | runs at full power | normal
The pressure gauge of the heating system in house 3 is below one bar. | heating system | house 3 | low pressure | normal
The freezer room in the fish market has climbed to minus four degrees. | freezer room | fish market | too warm | high
Remote control of the air conditioner in the showroom has gone missing. | remote control | showroom | missing | low
The window fan in the darkroom turns very slowly. | window fan | darkroom | turns slowly | low
Oil is leaking from the heating tank in the barn. | heating tank | barn | leaking oil | high
The radiator in my bedroom in flat 19 has been lukewarm for a week. | radiator | flat 19 bedroom | lukewarm | normal
The extractor hood in the tea kitchen is louder than before. | extractor hood | tea kitchen | loud | low
The cooling unit on the roof vibrates so much that the ceiling shakes. | cooling unit | roof | vibrates strongly | high
The sauna stove at the health club does not reach temperature. | sauna stove | health club | does not reach temperature | normal
The radiator panel in the cloakroom has come off the wall. | radiator panel | cloakroom | off the wall | high
The ventilation timer in the washrooms needs to be set to winter hours. | ventilation timer | washrooms | wrong hours | low
""",
    "carpentry": """
The door of cupboard 3 in the archive hangs crooked. | cupboard door | archive | hangs crooked | low
A window pane in the sports hall is broken and there is glass on the floor. | window pane | sports hall | broken | high
The drawer of my desk in room 118 is jammed. | desk drawer | room 118 | jammed | low
The handrail on the stairs to the cellar has come loose. | handrail | cellar stairs | loose | high
The office door of the headmaster scrapes over the carpet. | door | headmaster's office | scrapes | low
One leg of the big table in the boardroom wobbles. | table leg | boardroom | wobbles | normal
A floorboard in the dance studio has snapped, somebody already tripped. | floorboard | dance studio | snapped | high
The window in the copy room can't be closed any more. | window | copy room | does not close | normal
A shelf in the library's history section is bending under the books. | shelf | library history section | bending | normal
The chair at checkout 4 has lost a wheel. | chair | checkout 4 | wheel missing | normal
A ceiling tile fell down in the open-plan area, others look loose. | ceiling tile | open-plan area | fell down | high
The coat hooks in the kindergarten are coming out of the wall. | coat hooks | kindergarten | coming out of the wall | normal
The skirting board behind the reception desk is peeling off. | skirting board | behind the reception desk | peeling off | low
The fire door on level 5 doesn't shut by itself. | fire door | level 5 | does not shut | high
The wooden bench in the changing room has sharp splinters. | bench | changing room | splintered | normal
The whiteboard in seminar room 2 is hanging by one screw. | whiteboard | seminar room 2 | hanging by one screw | high
The hinge of the reception gate squeaks terribly. | gate hinge | reception | squeaks | low
The wardrobe mirror in hotel room 33 has a crack. | wardrobe mirror | hotel room 33 | cracked | normal
Roof tiles came down in front of the main entrance during the night. | roof tiles | main entrance | fallen down | high
The roller shutter of the kiosk is stuck and we can't open the shop. | roller shutter | kiosk | stuck | high
The parquet in the foyer has a long scratch. | parquet | foyer | scratched | low
The bed frame in dormitory room 8 creaks and leans to one side. | bed frame | dormitory room 8 | leans | normal
The kitchen worktop in the guest flat has swollen next to the sink. | worktop | guest flat kitchen | swollen | low
The door handle of the first-aid room comes off when you pull it. | door handle | first-aid room | comes off | high
The blinds in the doctor's office have fallen off their rail. | blinds | doctor's office | off their rail | normal
The partition wall in the gym no longer slides. | partition wall | gym | does not slide | normal
The pew in the third row of the chapel is split along the seat. | pew | chapel third row | split | normal
The letterbox flap at number 9 is bent. | letterbox flap | number 9 | bent | low
The lectern in the auditorium tips forward when you lean on it. | lectern | auditorium | tips forward | normal
The display cabinet in the museum's coin room does not lock flat any more. | display cabinet | museum coin room | does not close flat | normal
The step at the stage entrance is rotten and gave way under me. | step | stage entrance | rotten | high
The window seal in the tea room lets the wind in. | window seal | tea room | draughty | low
The sliding door of the balcony in suite 7 jumps out of its track. | sliding door | suite 7 balcony | jumps out of its track | normal
The wallpaper in the stairwell is coming off at the seams. | wallpaper | stairwell | coming off | low
The loft ladder in the caretaker's flat does not fold back. | loft ladder | caretaker's flat | does not fold | normal
The armrest of seat F12 in the cinema is torn. | armrest | cinema seat F12 | torn | low
The garage door fell shut on its own, the spring seems broken. | garage door | garage | spring broken | high
The pin board in the break room needs to be put up again. | pin board | break room | off the wall | low
The trapdoor behind the bar does not sit level with the floor. | trapdoor | behind the bar | not level | high
The changing table in the family restroom is cracked in the middle. | changing table | family restroom | cracked | high
""",
    "cleaning": """
Somebody spilled coffee on the carpet in the conference room. | carpet | conference room | coffee stain | normal
The bins in the third-floor kitchen are overflowing. | bins | third-floor kitchen | overflowing | normal
There is broken glass all over the floor of the pool deck! | floor | pool deck | broken glass | high
The windows of the winter garden are covered in pollen. | windows | winter garden | covered in pollen | low
The soap dispenser in the staff washroom is empty. | soap dispenser | staff washroom | empty | normal
A child was sick in the bus shelter in front of the school. | floor | bus shelter | vomit | high
The fridge in the break room smells of old fish. | fridge | break room | smells | normal
Cooking oil was spilled at the canteen serving counter and people slip. | floor | canteen serving counter | oil spill | high
The lift mirror in building A is full of fingerprints. | mirror | building A lift | fingerprints | low
There's graffiti on the wall behind the bike racks. | wall | behind the bike racks | graffiti | low
No paper towels left in the washroom by the lab. | paper towels | washroom by the lab | run out | normal
The doormat at the side entrance is soaked with mud. | doormat | side entrance | muddy | normal
The shelves in the records room are thick with dust. | shelves | records room | dusty | low
A jar of mercury thermometers broke in the chemistry store. | floor | chemistry store | mercury spill | high
Chewing gum is stuck under the desks in classroom 11. | desks | classroom 11 | chewing gum | low
The showers in the boys' locker room have mould in the corners. | showers | boys' locker room | mould | normal
Pigeon droppings cover the bench outside the town library. | bench | outside the town library | pigeon droppings | normal
Please wash the curtains in the assembly hall before summer. | curtains | assembly hall | dirty | low
There is blood on the floor in treatment room 4. | floor | treatment room 4 | blood | high
The ashtray at the smokers' corner hasn't been emptied for days. | ashtray | smokers' corner | full | low
The microwave in the interns' office is crusted with soup. | microwave | interns' office | crusted with food | low
The stairwell in house 12 has not been swept this week. | stairwell | house 12 | not swept | normal
Toilet paper is out in all cubicles on the ground floor. | toilet paper | ground floor cubicles | run out | high
The tiles in the hotel spa are slippery with algae. | tiles | hotel spa | slippery with algae | high
The whiteboard in the maths room can't be wiped clean any more. | whiteboard | maths room | does not wipe clean | low
Wine was spilled on the red sofa in the theatre bar. | sofa | theatre bar | wine stain | normal
The bin room behind the restaurant is full of flies. | bin room | behind the restaurant | flies | normal
Cobwebs hang over the altar in the side chapel. | altar | side chapel | cobwebs | low
Paint has dripped on the parquet in the gallery. | parquet | gallery | paint stains | normal
The baby-changing room on level 1 smells and the nappy bin is full. | nappy bin | baby-changing room on level 1 | full | normal
Printer toner burst all over the desk in office 36. | desk | office 36 | toner spill | normal
The extractor grill in the pub kitchen is dripping with grease. | extractor grill | pub kitchen | greasy | normal
The glass doors of the bank branch have greasy hand marks. | glass doors | bank branch | hand marks | low
The playroom toys need disinfecting, two children have chickenpox. | toys | playroom | need disinfecting | high
Leaves have blown into the lobby and it looks untidy. | floor | lobby | leaves | low
The dishcloths in the tea kitchen have not been changed for a month. | dishcloths | tea kitchen | not changed | normal
Bleach leaked out of a canister in the cleaner's cupboard and the fumes sting. | canister | cleaner's cupboard | bleach leak | high
The cinema floor in hall 3 is sticky with lemonade. | floor | cinema hall 3 | sticky | normal
The skylight over the atrium is so dirty that it is dark below. | skylight | atrium | dirty | low
Mouse droppings were found in the bakery's flour store. | flour store | bakery | mouse droppings | high
""",
    "grounds": """
A large branch is hanging over the playground and might fall. | branch | playground | might fall | high
The hedge along the car park has grown over the signs. | hedge | car park | overgrown | low
There is ice on the path between the canteen and block B. | path | between the canteen and block B | icy | high
The lawn in front of the museum needs mowing. | lawn | museum front | too long | low
The park bench by the pond has a missing slat. | bench | by the pond | slat missing | normal
A deep pothole has opened at the delivery entrance. | driveway | delivery entrance | pothole | normal
The fence behind the football pitch has a hole that dogs get through. | fence | behind the football pitch | hole | normal
Wasps have built a nest under the roof of the kindergarten. | roof | kindergarten | wasp nest | high
The flower beds by the fountain are full of weeds. | flower beds | by the fountain | weeds | low
The swing in the courtyard hangs on one chain only. | swing | courtyard | chain broken | high
A tree has fallen across the road to the campsite. | tree | road to the campsite | fallen | high
The irrigation in the rose garden has not run for three days. | irrigation | rose garden | not running | normal
The paving stones in front of the bakery are uneven. | paving stones | in front of the bakery | uneven | normal
The gate to the allotments doesn't latch. | gate | allotments | does not latch | low
Moles have dug up the cricket field. | field | cricket field | molehills | low
Leaves block the drain grate in the lower yard and it floods when it rains. | drain grate | lower yard | blocked with leaves | normal
The flagpole rope at city hall is frayed. | flagpole rope | city hall | frayed | low
Snow has not been cleared from the emergency access of the hospital. | emergency access | hospital | snow not cleared | high
The compost bin in the school garden has tipped over. | compost bin | school garden | tipped over | low
The slide on the playground has a sharp edge. | slide | playground | sharp edge | high
The bicycle stand near the station is bent out of shape. | bicycle stand | near the station | bent | low
The sandpit in the day nursery has not been covered and cats use it. | sandpit | day nursery | used by cats | normal
The bollard at the market square was knocked over by a van. | bollard | market square | knocked over | normal
The path lights at the cemetery are hidden by ivy. | path lights | cemetery | hidden by ivy | low
Ivy is growing into the gutters of the vicarage. | gutters | vicarage | ivy | normal
The pond pump in the hospital garden is silent and the fish gasp for air. | pond pump | hospital garden | not running | high
The goal on pitch 2 is not anchored and can tip over. | goal | pitch 2 | not anchored | high
The parking lines in the visitors' car park have faded. | parking lines | visitors' car park | faded | low
The young oak by the tennis courts has broken its stake. | oak | by the tennis courts | stake broken | normal
The stone wall along the vineyard path is crumbling. | stone wall | vineyard path | crumbling | normal
The manhole cover on the school run is missing! | manhole cover | school run | missing | high
The rubbish bin at the viewpoint has been set on fire and melted. | rubbish bin | viewpoint | melted | normal
The tennis net on court 5 is torn. | tennis net | court 5 | torn | low
The beehive by the orchard was knocked down and the bees are angry. | beehive | orchard | knocked down | high
The gravel path to the chapel is washed out after the rain. | gravel path | path to the chapel | washed out | normal
The bird bath in the cloister has cracked in the frost. | bird bath | cloister | cracked | low
The picnic table by the river wobbles. | picnic table | by the river | wobbles | low
The barrier of the staff car park stays open. | barrier | staff car park | stays open | normal
Nettles have overgrown the steps to the beach. | steps | steps to the beach | overgrown with nettles | normal
The climbing frame behind the primary school has a loose bolt. | climbing frame | behind the primary school | loose bolt | high
""",
    "IT": """
The printer in the sales office prints blank pages. | printer | sales office | prints blank pages | normal
I can't log in to my laptop in room 204, the password is refused. | laptop | room 204 | login refused | normal
The wireless network in the library drops every few minutes. | wireless network | library | drops | normal
All tills in the supermarket are offline, we can't sell anything. | tills | supermarket | offline | high
My mouse at desk 31 has stopped working. | mouse | desk 31 | stopped working | low
The screen in the reception area is upside down. | screen | reception area | upside down | low
A strange window on the payroll computer demands money to unlock the files! | computer | payroll office | ransom demand | high
The phone in the porter's lodge has no dial tone. | phone | porter's lodge | no dial tone | normal
The scanner on the second floor puts a grey line on every page. | scanner | second floor | grey line on pages | low
The video system in meeting room Lima has no sound. | video system | meeting room Lima | no sound | normal
The ticket machine on platform 2 does not read cards. | ticket machine | platform 2 | does not read cards | high
The keyboard in the quiet study room is missing the letter E. | keyboard | quiet study room | key missing | low
The file server in the design studio is full. | file server | design studio | full | high
The monitor at workstation 8 has a green tint. | monitor | workstation 8 | green tint | low
The backup of the clinic database has failed three nights in a row. | database backup | clinic | failed | high
The label printer in the warehouse jams on every tenth label. | label printer | warehouse | jams | normal
The tablet in the exhibition hall is stuck on the start screen. | tablet | exhibition hall | stuck on the start screen | normal
The network socket in office 6 is dead. | network socket | office 6 | dead | normal
The room booking panel outside seminar room 4 shows yesterday's date. | booking panel | outside seminar room 4 | wrong date | low
The telephone system of the emergency desk is down. | telephone system | emergency desk | down | high
My headset in the call centre crackles. | headset | call centre | crackles | low
The computer in the X-ray room restarts by itself during scans. | computer | X-ray room | restarts by itself | high
The 3D printer in the makerspace doesn't heat up. | 3D printer | makerspace | does not heat up | normal
The laptop battery of the geography teacher lasts ten minutes. | laptop battery | geography teacher's laptop | lasts ten minutes | low
The badge reader at the canteen till is very slow today. | badge reader | canteen till | slow | normal
The projector in lecture hall 4 shows no picture and the exam starts in ten minutes. | projector | lecture hall 4 | no picture | high
The plotter in the architects' office is out of yellow ink. | plotter | architects' office | out of yellow ink | low
The display of the self-checkout by the exit flickers. | display | self-checkout by the exit | flickers | normal
The webcam in the principal's office is blurred. | webcam | principal's office | blurred | low
Nobody on the third floor can reach the internet. | internet connection | third floor | down | high
The barcode scanner at the returns desk beeps but reads nothing. | barcode scanner | returns desk | reads nothing | normal
The smart board in classroom 2B does not react to the pen. | smart board | classroom 2B | does not react to the pen | normal
The fax in the pharmacy keeps printing adverts. | fax | pharmacy | prints adverts | low
The lab computer next to the microscope is out of disk space. | computer | next to the microscope | out of disk space | normal
The server cupboard in the basement is beeping and a disk light is red. | server | basement cupboard | disk failure | high
The docking station at desk 5 does not charge my laptop. | docking station | desk 5 | does not charge | normal
The guest network in the hotel lobby asks for a password nobody knows. | guest network | hotel lobby | unknown password | normal
The departure board in the bus terminal is frozen. | departure board | bus terminal | frozen | high
The colour printer in the town hall prints everything in pink. | colour printer | town hall | prints in pink | low
The conference phone in room Berlin echoes. | conference phone | room Berlin | echoes | low
""",
    "security": """
I lost my key to the instrument store. | key | instrument store | lost | normal
The lock on the back door of the shop has been forced open! | lock | shop back door | forced open | high
The camera over the bicycle parking shows only black. | camera | bicycle parking | black picture | normal
The alarm in the jewellery store goes off for no reason. | alarm | jewellery store | false alarms | high
My access card doesn't open the laboratory any more. | access card | laboratory | does not open | normal
The padlock of locker 56 can't be opened. | padlock | locker 56 | does not open | low
A smoke detector in the dormitory chirps every minute. | smoke detector | dormitory | chirps | normal
The fire extinguisher in the kitchen corridor is missing. | fire extinguisher | kitchen corridor | missing | high
The code for the garage keypad should be changed, a tenant has moved out. | keypad | garage | code change needed | low
The emergency exit of the concert hall is blocked by chairs. | emergency exit | concert hall | blocked | high
The intercom at the north gate is silent. | intercom | north gate | silent | normal
A stranger has been sitting in the server room corridor for an hour. | corridor | server room | unknown person | high
The seal on the first-aid box in the workshop is broken. | first-aid box | workshop | seal broken | low
The turnstile at the office entrance lets everyone through. | turnstile | office entrance | lets everyone through | high
The safe in hotel room 209 does not open. | safe | hotel room 209 | does not open | normal
The key cabinet in the janitor's room stands open. | key cabinet | janitor's room | open | high
The security light at the depot shines into the neighbours' windows. | security light | depot | shines into windows | low
The panic button at the bank counter did not react in the test. | panic button | bank counter | does not react | high
The visitor badges at reception have run out. | visitor badges | reception | run out | low
Someone left a suitcase alone on platform 6. | suitcase | platform 6 | left alone | high
The door sensor of the medicine cabinet reports open although it is shut. | door sensor | medicine cabinet | wrong report | normal
The lock of the filing cabinet in human resources is stiff. | lock | human resources filing cabinet | stiff | low
The window of the treasurer's office was left open overnight. | window | treasurer's office | left open | normal
The fire alarm panel in the school office shows a fault. | fire alarm panel | school office | fault | high
The electronic lock of room 17 needs a new battery. | electronic lock | room 17 | battery low | normal
A bag with a wallet was found in the reading room. | bag | reading room | found | low
The barrier card of the night guard is bent. | barrier card | night guard | bent | low
The hinge bolts of the vault door are loose. | hinge bolts | vault door | loose | high
The mirror at the blind corner of the parking deck was stolen. | mirror | parking deck | stolen | normal
The fire blanket in the cookery classroom has been used and not replaced. | fire blanket | cookery classroom | used up | high
The recorder of the museum cameras stopped saving pictures. | recorder | museum cameras | stopped saving | high
The bike of a student was stolen from the rack at the pool. | bike | rack at the pool | stolen | normal
The key to the tool shed is stuck in the lock. | key | tool shed | stuck in the lock | normal
The sign with the evacuation plan on floor 6 has faded. | evacuation plan | floor 6 | faded | low
Somebody has cut the fence of the scrap yard. | fence | scrap yard | cut | high
The night door of the petrol station doesn't lock by itself. | night door | petrol station | does not lock | high
The magnetic tag remover at the bookshop till is loose. | tag remover | bookshop till | loose | low
The chain on the loading gate is rusty. | chain | loading gate | rusty | low
The alarm code of the community centre has been forgotten. | alarm code | community centre | forgotten | normal
An ID card was left in the copier on floor 2. | ID card | copier on floor 2 | left behind | low
""",
}


def read_table():
    """[(message, work order)] by team, in the order of TABLE."""
    teams = []
    for team, text in TABLE.items():
        rows = []
        for line in text.strip().splitlines():
            message, item, place, fault, priority = (field.strip() for field in line.split("|"))
            if priority not in ("high", "normal", "low"):
                raise ValueError(f"unknown priority: {line}")
            order = f"ITEM: {item}\nPLACE: {place}\nFAULT: {fault}\nTEAM: {team}\nPRIORITY: {priority}"
            rows.append((message, order))
        teams.append(rows)
    return teams


def render(rows):
    lines = []
    for message, order in rows:
        row = {"messages": [{"role": "user", "content": message}, {"role": "assistant", "content": order}]}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def main():
    teams = read_table()
    messages = [message for rows in teams for message, _ in rows]
    if len(set(messages)) != len(messages):
        raise ValueError("a message appears twice")
    train, held_back = [], []
    # Teams in turn, so that the files are mixed even where they are not shuffled.
    for i in range(max(len(rows) for rows in teams)):
        for rows in teams:
            if i < len(rows):
                (held_back if i % HOLD_BACK_EVERY == HOLD_BACK_EVERY - 1 else train).append(rows[i])

    folder = pathlib.Path(__file__).resolve().parent.parent / "data" / "demo"
    differ = 0
    for name, rows in (("train.jsonl", train), ("eval.jsonl", held_back)):
        path, data = folder / name, render(rows).encode("utf-8")
        if "--check" not in sys.argv[1:]:
            path.write_bytes(data)
            print(f"{path}: {len(rows)} rows")
        elif not path.exists() or path.read_bytes() != data:
            print(f"{path}: differs from what {pathlib.Path(__file__).name} writes", file=sys.stderr)
            differ = 1
    return differ


if __name__ == "__main__":
    sys.exit(main())
